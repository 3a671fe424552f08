/* The source of a pipeline that imports a tree on disk: walks it, and fills blocks with it. */
#ifndef CASTOR_TRANSFER_TREE_SCAN_H
#define CASTOR_TRANSFER_TREE_SCAN_H

#include "transfer/tree_pipe.h"
#include "transfer/tree_walk.h"

/* Borrows the walk. */
struct tree_source tree_scan(struct tree_walk *walk);

#endif
