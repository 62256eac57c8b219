// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fnmatch.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "harness.h"

#define MAX_SHOWN	12	/* failures of one test that are printed */
#define KILL_LIMIT	30	/* seconds until a killed test must be gone */

/* A kernel with lockdep checks all it does. Limits are for ordinary ones. */
#define LOCKDEP		"/proc/lockdep_stats"
#define SLOWER		4

/* What the processes of a test have in common. */
struct outcome {
	atomic_uint failed;
	atomic_bool skipped;
	atomic_ullong tally[TH_TALLIES];
	char reason[160];
};

static const char * const tally_name[TH_TALLIES] = {
	[TH_TRANSITIONS]	= "transitions",
	[TH_RESETS]		= "resets",
	[TH_REMOVALS]		= "removals",
	[TH_MUTATIONS]		= "mutations",
	[TH_REFUSED]		= "mutations refused",
	[TH_NOMEM]		= "allocations failed",
	[TH_SENT]		= "frames sent",
	[TH_RECEIVED]		= "frames received",
	[TH_LOST]		= "frames lost to a quiet or full ring",
	[TH_VANISHED]		= "frames lost otherwise",
	[TH_DUPLICATED]		= "frames duplicated",
};

/* A test that is running. */
struct run {
	struct th_test *test;	/* NULL: none */
	struct outcome *outcome;
	pid_t pid;
	double began;
	int output;		/* what it has said so far */
};

static struct th_test *first, **last = &first;
static struct th_scene *first_scene, **last_scene = &first_scene;
static unsigned int factor = 1;
static struct outcome *shared;		/* one for each lane */
static struct outcome *outcome;		/* of the test that this process runs */
static __thread char context[120];

unsigned int th_lanes = LANES;
void (*th_header)(void);

void th_register(struct th_test *test)
{
	*last = test;
	last = &test->next;
}

void th_register_scene(struct th_scene *scene)
{
	*last_scene = scene;
	last_scene = &scene->next;
}

unsigned int th_times(unsigned int count)
{
	return count * factor;
}

/* One write() per line: threads and processes share the output. */
static void say(const char *fmt, va_list args)
{
	char line[512] = "# ";
	int len = 2;

	len += vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
	if (len > (int)sizeof(line) - 2)
		len = sizeof(line) - 2;
	line[len++] = '\n';
	if (write(STDOUT_FILENO, line, len) != len)
		_exit(2);
}

void th_log(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(fmt, args);
	va_end(args);
}

void th_count(enum th_tally what, unsigned long long number)
{
	/* The scene is not part of any test. */
	if (outcome)
		atomic_fetch_add(&outcome->tally[what], number);
}

void th_context(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(context, sizeof(context), fmt, args);
	va_end(args);
}

unsigned int th_failures(void)
{
	return atomic_load(&outcome->failed);
}

void th_skip(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(outcome->reason, sizeof(outcome->reason), fmt, args);
	va_end(args);
	atomic_store(&outcome->skipped, true);
	_exit(0);
}

void th_abort(void)
{
	_exit(1);
}

static const char *number(char *text, size_t size, long long value)
{
	const char *name = value < 0 && value > -200 ?
		strerrorname_np(-value) : NULL;

	if (name)
		snprintf(text, size, "-%s", name);
	else
		snprintf(text, size, "%lld (%#llx)", value, value);
	return text;
}

bool th_check(bool good, const char *file, int line, const char *expr,
	      const char *relation, long long expected, long long seen)
{
	char exp[48], got[48];
	const char *slash = strrchr(file, '/');

	if (good)
		return true;
	if (atomic_fetch_add(&outcome->failed, 1) < MAX_SHOWN)
		th_log("%s:%d: %s%sexpected %s %s %s, got %s",
		       slash ? slash + 1 : file, line, context,
		       *context ? ": " : "", number(exp, sizeof(exp), expected),
		       relation, expr, number(got, sizeof(got), seen));
	return false;
}

unsigned int th_seed(void)
{
	const char *first_seed = getenv("TEST_SEED");
	static atomic_uint seed;

	return atomic_fetch_add(&seed, 0x9e3779b9) +
	       (first_seed ? strtoul(first_seed, NULL, 0) : 0);
}

unsigned int th_dice(unsigned int *seed, unsigned int sides)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % sides;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 2000000 }, NULL);
}

static bool report_end(int output, int status, const char *who)
{
	if (WIFSIGNALED(status))
		dprintf(output, "# %s was killed by %s\n", who,
			strsignal(WTERMSIG(status)));
	return WIFEXITED(status) && !WEXITSTATUS(status);
}

void th_both(void (*fn)(unsigned int which))
{
	unsigned int which;
	pid_t pid[2];
	int status;

	for (which = 0; which < 2; which++) {
		pid[which] = fork();
		ASSERT_NE(-1, pid[which]);
		if (!pid[which]) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			fn(which);
			_exit(0);
		}
	}
	for (which = 0; which < 2; which++) {
		ASSERT_EQ(pid[which], waitpid(pid[which], &status, 0));
		if (!report_end(STDOUT_FILENO, status, "a process"))
			th_check(false, __FILE__, __LINE__, "exit status",
				 "==", 0, status);
	}
}

/* Results, and what there is to explain them, come in one piece. */
static unsigned int done, failed, skipped;
static unsigned int slower = 1;

static void show(struct run *run, bool good)
{
	bool skip = atomic_load(&run->outcome->skipped);
	char text[4096];
	unsigned int n;
	ssize_t len;

	lseek(run->output, 0, SEEK_SET);
	while ((len = read(run->output, text, sizeof(text))) > 0)
		if (write(STDOUT_FILENO, text, len) != len)
			_exit(2);

	for (n = 0; n < TH_TALLIES; n++)
		if (atomic_load(&run->outcome->tally[n]))
			printf("# total: %llu %s\n",
			       atomic_load(&run->outcome->tally[n]),
			       tally_name[n]);
	printf("%sok %u - %s: %s%s%s\n# %.2f s\n", good ? "" : "not ", ++done,
	       run->test->name, run->test->contract, skip ? " # SKIP " : "",
	       skip ? run->outcome->reason : "", now() - run->began);
	failed += !good;
	skipped += good && skip;
}

static void mend_scenes(void)
{
	struct th_scene *scene;

	for (scene = first_scene; scene; scene = scene->next)
		if (scene->mend)
			scene->mend();
}

static void start(struct run *run, struct th_test *test, unsigned int lane)
{
	memset(run->outcome, 0, sizeof(*run->outcome));
	run->test = test;
	run->began = now();
	run->output = memfd_create("output", MFD_CLOEXEC);
	run->pid = run->output < 0 ? -1 : fork();
	if (run->pid < 0) {
		perror("harness");
		_exit(2);
	}
	if (!run->pid) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		outcome = run->outcome;
		dup2(run->output, STDOUT_FILENO);
		th_setup(lane);
		test->run();
		_exit(0);
	}
}

bool lockdep(void)
{
	return !access(LOCKDEP, F_OK);
}

/* Has it come to an end? */
static void look(struct run *run)
{
	unsigned int limit = th_times(run->test->limit) * slower;
	double late = now() - run->began - limit;
	unsigned int failures;
	int status;
	bool good;

	if (waitpid(run->pid, &status, WNOHANG) != run->pid) {
		if (late > KILL_LIMIT) {
			show(run, false);
			printf("Bail out! %s cannot be ended\n",
			       run->test->name);
			_exit(2);
		}
		if (late > 0)
			kill(-run->pid, SIGKILL);
		return;
	}

	/* What th_both() may have left. */
	kill(-run->pid, SIGKILL);
	good = report_end(run->output, status, run->test->name);
	failures = atomic_load(&run->outcome->failed);
	if (late > 0)
		dprintf(run->output, "# not within %u s\n", limit);
	if (failures > MAX_SHOWN)
		dprintf(run->output, "# ... %u failures\n", failures);
	show(run, good && !failures);
	if (!good || failures)
		mend_scenes();
	close(run->output);
	run->test = NULL;
}

static bool wanted(const struct th_test *test, int argc, char **argv)
{
	int i;

	for (i = 0; i < argc; i++)
		if (!fnmatch(argv[i], test->name, 0))
			return true;
	return !argc;
}

/* Those that are to be alone, or the others. */
static void run_all(bool alone, int argc, char **argv)
{
	static struct run run[LANES];
	struct th_test *test = first;
	unsigned int lane, lanes = alone ? 1 : th_lanes, running;

	for (lane = 0; lane < lanes; lane++)
		run[lane].outcome = &shared[lane];
	do {
		running = 0;
		for (lane = 0; lane < lanes; lane++) {
			if (run[lane].test)
				look(&run[lane]);
			while (test && (test->alone != alone ||
					!wanted(test, argc, argv)))
				test = test->next;
			if (!run[lane].test && test) {
				start(&run[lane], test, lane);
				test = test->next;
			}
			running += !!run[lane].test;
		}
		nap();
	} while (running);
}

/* From @scene on; and back, also if one of them cannot be prepared. */
static bool run_within(struct th_scene *scene, int argc, char **argv)
{
	bool good;

	if (!scene) {
		run_all(false, argc, argv);
		run_all(true, argc, argv);
		return true;
	}
	good = (!scene->begin || scene->begin()) &&
	       run_within(scene->next, argc, argv);
	if (scene->end)
		scene->end();
	return good;
}

int th_main(unsigned int times, int argc, char **argv)
{
	double began = now();

	shared = mmap(NULL, LANES * sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 2;

	if (lockdep())
		slower = SLOWER;
	setvbuf(stdout, NULL, _IONBF, 0);
	factor = times;
	printf("TAP version 13\n");
	if (th_header)
		th_header();
	if (!run_within(first_scene, argc, argv)) {
		printf("Bail out! the scene cannot be prepared\n");
		return 2;
	}
	printf("1..%u\n# %u passed, %u failed, %u skipped in %.1f s\n", done,
	       done - failed - skipped, failed, skipped, now() - began);
	return failed || !done;
}
