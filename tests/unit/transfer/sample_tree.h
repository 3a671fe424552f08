/* Random trees in a sample's services, and their NARs, written beside them. */
#ifndef CASTOR_TESTS_TRANSFER_SAMPLE_TREE_H
#define CASTOR_TESTS_TRANSFER_SAMPLE_TREE_H

#include "nix/nar_writer.h"
#include "sample.h"

/* Zeroed but for the first three. */
struct sample_generator {
	struct sample *sample;
	struct buf *nar;
	uint64_t seed;
	unsigned files;
};

static inline unsigned sample_draw(struct sample_generator *generator, unsigned below)
{
	uint8_t bytes[8];
	uint64_t number;

	testing_fill_seeded(generator->seed++, bytes, sizeof(bytes));
	memcpy(&number, bytes, sizeof(number));
	return (unsigned)(number % below);
}

static inline struct node sample_generate_file(struct sample_generator *generator, const char *name)
{
	static const size_t sizes[] = { 0,     1,      7,      8,       100,           5000,
					70000, 131072, 131073, 1 << 20, (1 << 20) + 1, 3 << 20 };
	unsigned which = sample_draw(generator, 100);
	size_t size = sizes[which < 98 ? which % 6 : 6 + generator->files % 6];
	AUTO_FREE uint8_t *bytes = mem_alloc(size + 1);
	bool executable = sample_draw(generator, 2);

	generator->files++;
	testing_fill_seeded(generator->seed++, bytes, size);
	nar_file_begin(generator->nar, executable, size);
	buf_append(generator->nar, bytes, size);
	nar_file_end(generator->nar, size);
	return sample_file(generator->sample, name, view_of(bytes, size), executable);
}

/* A tree of at most that many levels below its root. */
static inline struct node sample_tree(struct sample_generator *generator, const char *name,
				      unsigned depth)
{
	unsigned which = sample_draw(generator, 10);

	if (depth > 0 && (depth == 4 || which < 3)) {
		unsigned count = sample_draw(generator, depth == 4 ? 60 : 25);
		char names[60][12];
		struct node nodes[60], dir;

		nar_directory_begin(generator->nar);
		for (unsigned i = 0; i < count; i++) {
			snprintf(names[i], sizeof(names[i]), "%03u", i);
			nar_entry_begin(generator->nar, view_of_string(names[i]));
			nodes[i] = sample_tree(generator, names[i], depth - 1);
			nar_entry_end(generator->nar);
		}
		nar_directory_end(generator->nar);
		dir = sample_directory(generator->sample, name, nodes, count);
		return dir;
	}
	if (which == 9) {
		nar_symlink(generator->nar, view_of_string("../target"));
		return sample_symlink(name, "../target");
	}
	return sample_generate_file(generator, name);
}

#endif
