/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small test harness with the look of kselftest_harness.h, for a build
 * machine that has no kernel source tree. Each test runs in a process of its
 * own, below a time limit, so that one that crashes or hangs costs one "not
 * ok" and leaves no file descriptor behind.
 *
 * Tests that keep to one device, and do nothing that other devices notice
 * (broadcasts, for instance), are run two at a time, in two *lanes*: most of
 * their time they wait for resets. th_setup() is told the lane.
 *
 * EXPECT_*() notes a failure and goes on, ASSERT_*() ends the test. The
 * expected value comes first. Both may be used by threads of a test, and by
 * the processes of th_both().
 */
#ifndef _VFIO_MIGRATION_HARNESS_H
#define _VFIO_MIGRATION_HARNESS_H

#include <stdbool.h>

/**
 * struct th_test - a test
 * @name: its name in the output
 * @contract: what it checks, in one sentence
 * @limit: seconds, on an ordinary kernel
 * @alone: no other test runs at the same time
 * @run: the test
 * @next: the test that is run after it
 */
struct th_test {
	const char *name;
	const char *contract;
	unsigned int limit;
	bool alone;
	void (*run)(void);
	struct th_test *next;
};

/* How many tests may run at a time; fewer if there are not enough devices. */
#define LANES	2
extern unsigned int th_lanes;

/* If not NULL: called when the output has begun, to say where it comes from. */
extern void (*th_header)(void);

void th_register(struct th_test *test);

/**
 * struct th_scene - what all tests of a program need around them
 * @begin: prepares it, before the first test; false: no test can be run
 * @mend: after a test that has failed and may have left anything behind
 * @end: takes it back, after the last one
 * @next: the scene that is prepared after it
 *
 * Each may be NULL. They run in the process of the program itself, where no EXPECT
 * is.
 */
struct th_scene {
	bool (*begin)(void);
	void (*mend)(void);
	void (*end)(void);
	struct th_scene *next;
};

void th_register_scene(struct th_scene *scene);

/*
 * Run the tests that are named, or all; @times as much as in the short form
 * where that is a matter of numbers.
 */
int th_main(unsigned int times, int argc, char **argv);

/* Called in the process of a test; to be provided by the program. */
void th_setup(unsigned int lane);

#define TH_TEST(_name, _limit, _alone, _contract)			\
	static void test_##_name(void);					\
	static struct th_test th_test_##_name = {			\
		.name = #_name, .contract = (_contract),		\
		.limit = (_limit), .alone = (_alone),			\
		.run = test_##_name,					\
	};								\
	static void __attribute__((constructor)) th_add_##_name(void)	\
	{								\
		th_register(&th_test_##_name);				\
	}								\
	static void test_##_name(void)

#define TEST(_name, _contract)		TH_TEST(_name, 30, false, _contract)
#define TEST_ALONE(_name, _contract)	TH_TEST(_name, 30, true, _contract)
#define TEST_LONG(_name, _contract)	TH_TEST(_name, 900, true, _contract)

#define TH_SCENE(_begin, _mend, _end)					\
	static struct th_scene th_scene = {				\
		.begin = (_begin), .mend = (_mend), .end = (_end),	\
	};								\
	static void __attribute__((constructor)) th_add_scene(void)	\
	{								\
		th_register_scene(&th_scene);				\
	}

/* Has this kernel lockdep? It reports mistakes of others, too. */
bool lockdep(void);

/* How often something is to be done that the short form does @count times. */
unsigned int th_times(unsigned int count);

/*
 * Numbers that are of interest for all tests together. What there was of each is
 * said at the end of a test, as "# total: NUMBER NAME". TH_LOST: while the
 * receiver was quiet or had no buffers; TH_VANISHED: at any other time.
 */
enum th_tally {
	TH_TRANSITIONS, TH_RESETS, TH_REMOVALS, TH_MUTATIONS, TH_REFUSED,
	TH_NOMEM, TH_SENT, TH_RECEIVED, TH_LOST, TH_VANISHED, TH_DUPLICATED,
	TH_TALLIES,
};

void th_count(enum th_tally what, unsigned long long number);

/* A line of explanation in the output. */
void th_log(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* What is printed in front of the failures of this thread from now on. */
void th_context(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Number of failures so far in this test. */
unsigned int th_failures(void);

/* End the test: it cannot be run here. */
void th_skip(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));

/* End the test, or the process of th_both(), as failed. */
void th_abort(void) __attribute__((noreturn));

/* Run @fn twice at once, in two processes, with 0 and with 1. */
void th_both(void (*fn)(unsigned int which));

/*
 * Another seed for each thread that asks, the same ones in each run; other ones
 * with another TEST_SEED in the environment.
 */
unsigned int th_seed(void);
/* A number below @sides. */
unsigned int th_dice(unsigned int *seed, unsigned int sides);

/* A failure, if @good is false. */
bool th_check(bool good, const char *file, int line, const char *expr,
	      const char *relation, long long expected, long long seen);

/* @_text: @_seen as it was written, before its macros were expanded. */
#define TH_COMPARE(_expected, _relation, _seen, _text, _fatal)		\
	do {								\
		__typeof__(_expected) __exp = (_expected);		\
		__typeof__(_seen) __seen = (_seen);			\
		if (!th_check(__exp _relation __seen, __FILE__,		\
			      __LINE__, _text, #_relation,		\
			      (long long)__exp, (long long)__seen) &&	\
		    (_fatal))						\
			th_abort();					\
	} while (0)

#define EXPECT_EQ(expected, seen)	\
	TH_COMPARE(expected, ==, seen, #seen, false)
#define EXPECT_NE(expected, seen)	\
	TH_COMPARE(expected, !=, seen, #seen, false)
#define EXPECT_LE(expected, seen)	\
	TH_COMPARE(expected, <=, seen, #seen, false)
#define EXPECT_GE(expected, seen)	\
	TH_COMPARE(expected, >=, seen, #seen, false)
#define EXPECT_TRUE(seen)		\
	TH_COMPARE(true, ==, !!(seen), #seen, false)
#define ASSERT_EQ(expected, seen)	\
	TH_COMPARE(expected, ==, seen, #seen, true)
#define ASSERT_NE(expected, seen)	\
	TH_COMPARE(expected, !=, seen, #seen, true)
#define ASSERT_LE(expected, seen)	\
	TH_COMPARE(expected, <=, seen, #seen, true)
#define ASSERT_TRUE(seen)		\
	TH_COMPARE(true, ==, !!(seen), #seen, true)

#endif /* _VFIO_MIGRATION_HARNESS_H */
