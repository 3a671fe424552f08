/* The doubles: plan.h says what they do. Each takes a reference on the inner service. */
#ifndef CASTOR_TESTS_DOUBLE_DOUBLE_H
#define CASTOR_TESTS_DOUBLE_DOUBLE_H

#include "double/plan.h"
#include "service/services.h"

/* Has no descriptors and no frames: everything goes through calls that the plan can disturb. */
struct blob_service *double_blob_new(struct blob_service *inner, struct double_plan *plan);
struct directory_service *double_directory_new(struct directory_service *inner,
					       struct double_plan *plan);
struct path_info_service *double_path_info_new(struct path_info_service *inner,
					       struct double_plan *plan);

/* All services of a bundle behind one plan; NAR facts stay as they are. Takes new references. */
void double_services(const struct services *inner, struct double_plan *plan, struct services *out);

#endif
