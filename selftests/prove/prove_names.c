// SPDX-License-Identifier: GPL-2.0
/*
 * Proof of mig_state_name() and mig_step_name().
 *
 * Proven: for every u32 the result is a string that ends within NAME_BYTES
 * bytes, never NULL. States that can be, and steps, have a name, no two the
 * same; all else is called "invalid". Assumed: nothing.
 */
#include "model.h"

/* As long as "RUNNING|SAVING|NDMA", which takes 20 with its end. */
#define NAME_BYTES	20

static bool name_ends(const char *name)
{
	for (unsigned int i = 0; i < NAME_BYTES; i++)
		if (!name[i])
			return i > 0;
	return false;
}

/* Not strcmp(): what is proven is not to depend on CBMC's model of it. */
static bool name_same(const char *a, const char *b)
{
	for (unsigned int i = 0; i < NAME_BYTES; i++) {
		if (a[i] != b[i])
			return false;
		if (!a[i])
			return true;
	}
	return true;
}

static void prove_state_names(void)
{
	u32 a = nondet_u32(), b = nondet_u32();
	const char *name = mig_state_name(a);
	const char *other = mig_state_name(b);

	PROVE(name, "names: of a state never NULL");
	PROVE(name_ends(name), "names: of a state is a string, not empty");
	if (spec_valid(a) || a == ERROR) {
		PROVE(!name_same(name, "invalid"),
		      "names: each state that can be has one");
		if (a != b)
			PROVE(!name_same(name, other),
			      "names: no two states have the same");
	} else {
		PROVE(name_same(name, "invalid"),
		      "names: what is not a state is called invalid");
	}
}

static void prove_step_names(void)
{
	u32 a = nondet_u32(), b = nondet_u32();
	const char *name = mig_step_name((enum mig_step)a);
	const char *other = mig_step_name((enum mig_step)b);

	PROVE(name, "names: of a step never NULL");
	PROVE(name_ends(name), "names: of a step is a string, not empty");
	if (a < MIG_STEP_COUNT) {
		PROVE(!name_same(name, "invalid"), "names: each step has one");
		if (a != b)
			PROVE(!name_same(name, other),
			      "names: no two steps have the same");
	} else {
		PROVE(name_same(name, "invalid"),
		      "names: what is not a step is called invalid");
	}
}

int main(void)
{
	prove_state_names();
	prove_step_names();
	return 0;
}
