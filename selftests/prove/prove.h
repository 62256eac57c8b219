/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What all proofs share: how a property is named, where choices come from.
 *
 * A harness is not a test program. CBMC takes its main() and the very fsm.c
 * that the kernel runs as one formula, in which every nondet_*() may be any
 * value, and looks for values that make a PROVE() false. There are none, or it
 * shows them: this is about all values, nothing is sampled.
 */
#ifndef _PROVE_H
#define _PROVE_H

#include "fsm.h"

/*
 * A property, by name. Write "if (a) PROVE(b, ...)" rather than !a || b: each
 * PROVE() has to be reachable as well, so that none holds because its case
 * never comes up.
 */
#define PROVE(condition, name)	__CPROVER_assert(condition, name)

/* Something that can happen: fails if there are no values that lead here. */
#define REACHED(name)		__CPROVER_assert(1, "can happen: " name)

/* CBMC knows them by their prefix: they have no body and return anything. */
bool nondet_bool(void);
int nondet_int(void);
u8 nondet_u8(void);
u32 nondet_u32(void);

#endif /* _PROVE_H */
