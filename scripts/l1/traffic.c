// SPDX-License-Identifier: GPL-2.0
/*
 * Checked traffic between a guest that is migrated and a peer that stays.
 *
 *	traffic peer ADDRESS [options]		listens on ADDRESS
 *	traffic guest ADDRESS [options]		talks to the peer at ADDRESS
 *
 * Both directions at once, over
 *
 *  - one TCP connection, never renewed, in which every byte is a function of
 *    its offset and is checked where it arrives;
 *  - UDP datagrams with a number, at a fixed interval. The receiver keeps one
 *    bit per number, so that duplicates are counted exactly.
 *
 * Times are the peer's. A guest's clocks stand still while it is stopped, so
 * it cannot see how long it was away. What the guest has received so far is
 * therefore repeated in each of its datagrams, and the peer measures by its
 * own CLOCK_MONOTONIC how long that number did not grow.
 *
 * Reports are lines of JSON: every period, on SIGUSR1 and at the end. The peer
 * also writes a line for each gap. SIGTERM to the peer ends it all in order:
 * it stops sending and closes its half of the connection, the guest sees that
 * and does the same, then both count. Datagrams missing then are lost.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define PORT		8257
#define MS		1000000ull		/* ns */
#define SECOND		(1000 * MS)
#define MAGIC		0x3630303238534756ull	/* "VGS82006", any number would do */
#define MAX_SEQ		(1ull << 32)		/* bounds the bitmap: 512 MiB */
#define MAX_DATAGRAM	1400
#define TCP_TICK	(10 * MS)
#define TCP_CHUNK	16384
#define DRAIN		(300 * MS)		/* wait for datagrams under way */
#define CONNECT_LIMIT	(60 * SECOND)

/* All words are little endian on the machines this is for. */
struct datagram {
	uint64_t magic;
	uint64_t sum;		/* of all that follows */
	uint64_t seq;
	uint64_t time;		/* sender's CLOCK_MONOTONIC, ns */
	uint64_t udp_received;	/* distinct datagrams that the sender has got */
	uint64_t tcp_received;	/* bytes that the sender has got and checked */
	uint64_t tcp_bad;	/* sender's connection is broken or had bad bytes */
	uint64_t fill[];
};

#define MIN_DATAGRAM	(sizeof(struct datagram) + 8)

enum tcp_state { TCP_WAITING, TCP_OPEN, TCP_FINISHED, TCP_BROKEN, TCP_CORRUPTED };

static const char * const tcp_state_names[] = {
	"waiting", "open", "finished", "broken", "corrupted",
};

/* How long something did not happen, see gap_event(). */
struct gap {
	const char *name;
	uint64_t last;
	uint64_t longest;
};

struct traffic {
	/* options */
	bool guest;
	struct sockaddr_in address;
	uint64_t rate;			/* TCP bytes per second */
	uint64_t interval;		/* between datagrams, ns; 0: no pause */
	uint64_t period;		/* between reports, ns */
	uint64_t min_gap;		/* shortest gap to tell, ns */
	size_t size;			/* of a datagram */
	uint64_t finish_limit;
	int out;

	/* UDP */
	int udp;
	bool have_peer;			/* somebody to send to */
	struct sockaddr_in udp_peer;
	uint64_t udp_sent, udp_send_errors;
	uint64_t udp_received, udp_duplicated, udp_reordered, udp_corrupted;
	uint64_t udp_highest;
	unsigned char *seen;
	size_t seen_size;

	/* TCP */
	int listener, tcp;
	enum tcp_state tcp_state;
	int tcp_error;
	uint64_t tcp_sent, tcp_received, tcp_bad_offset, tcp_budget, tcp_ticked;
	bool tcp_sent_fin, tcp_got_fin;

	/* what the other side says, and when (peer only) */
	uint64_t echo_udp, echo_tcp;
	bool echo_bad;
	int64_t clock_offset;		/* ours - the sender's, smallest of a period */
	struct gap gap_rx, gap_echo, gap_tcp;

	bool finishing;
	uint64_t finish_since;
	uint64_t fin_since;		/* when the other side had sent its last */
};

static void die(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "traffic: ");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	exit(2);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

static uint64_t splitmix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The byte at an offset of the stream that the guest (or the peer) sends. */
static unsigned char tcp_byte(bool from_guest, uint64_t offset)
{
	uint64_t word = splitmix((offset >> 3) ^ (from_guest ? 1ull << 62 : 0));

	return word >> (8 * (offset & 7));
}

/*
 * Reports.
 */

struct line {
	char text[4096];
	size_t used;
};

static void __attribute__((format(printf, 2, 3)))
put(struct line *line, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(line->text + line->used, sizeof(line->text) - line->used,
			format, args);
	va_end(args);
	if (len < 0 || (size_t)len >= sizeof(line->text) - line->used)
		die("report too long");
	line->used += len;
}

static void put_out(struct traffic *t, const struct line *line)
{
	size_t done = 0;

	while (done < line->used) {
		ssize_t n = write(t->out, line->text + done, line->used - done);

		if (n < 0 && errno != EINTR)
			die("writing the report: %s", strerror(errno));
		if (n > 0)
			done += n;
	}
}

static bool read_text(char *buf, size_t size, const char *format, ...)
{
	char path[512];
	va_list args;
	ssize_t n;
	int fd;

	va_start(args, format);
	vsnprintf(path, sizeof(path), format, args);
	va_end(args);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, buf, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	buf[n] = 0;
	buf[strcspn(buf, "\n")] = 0;
	return true;
}

/* What the kernel counts for the network card: errors, link changes, hangs. */
static void put_nic(struct line *line)
{
	static const char * const counters[] = {
		"carrier", "carrier_changes", "queues/tx-0/tx_timeout",
		"statistics/rx_packets", "statistics/tx_packets",
		"statistics/rx_errors", "statistics/tx_errors",
		"statistics/rx_dropped", "statistics/tx_dropped",
		"statistics/rx_crc_errors", "statistics/rx_length_errors",
		"statistics/rx_over_errors", "statistics/tx_aborted_errors",
		"statistics/tx_carrier_errors", "statistics/tx_fifo_errors",
	};
	DIR *dir = opendir("/sys/class/net");
	struct dirent *entry;
	char name[256] = "";
	char value[64];

	while (dir && (entry = readdir(dir)))
		/* a real card has a device behind it */
		if (read_text(value, sizeof(value), "/sys/class/net/%s/device/vendor",
			      entry->d_name) ||
		    read_text(value, sizeof(value), "/sys/class/net/%s/device/modalias",
			      entry->d_name))
			snprintf(name, sizeof(name), "%s", entry->d_name);
	if (dir)
		closedir(dir);
	if (!name[0])
		return;
	put(line, ",\"nic\":{\"name\":\"%s\"", name);
	for (size_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		const char *slash = strrchr(counters[i], '/');

		if (read_text(value, sizeof(value), "/sys/class/net/%s/%s", name, counters[i]))
			put(line, ",\"%s\":%s", slash ? slash + 1 : counters[i], value);
	}
	put(line, "}");
}

/* Datagrams that the kernel threw away because of a wrong checksum. */
static uint64_t udp_checksum_errors(void)
{
	FILE *file = fopen("/proc/net/snmp", "re");
	unsigned long long value = 0;
	char names[1024], values[1024];

	while (file && fgets(names, sizeof(names), file) &&
	       fgets(values, sizeof(values), file)) {
		char *n_save, *v_save, *n, *v;

		if (strncmp(names, "Udp:", 4))
			continue;
		n = strtok_r(names, " \n", &n_save);
		v = strtok_r(values, " \n", &v_save);
		while (n && v) {
			if (!strcmp(n, "InCsumErrors"))
				value = strtoull(v, NULL, 10);
			n = strtok_r(NULL, " \n", &n_save);
			v = strtok_r(NULL, " \n", &v_save);
		}
	}
	if (file)
		fclose(file);
	return value;
}

static void put_gap(struct line *line, const struct gap *gap, uint64_t now)
{
	put(line, "\"%s\":{\"longest_ms\":%.1f,\"since_ms\":%.1f}", gap->name,
	    gap->longest / 1e6, gap->last ? (now - gap->last) / 1e6 : 0.0);
}

static void report(struct traffic *t, bool final)
{
	struct line line = { .used = 0 };
	uint64_t now = now_ns();

	put(&line, "{\"who\":\"%s\",\"ms\":%.1f,\"final\":%s",
	    t->guest ? "guest" : "peer", now / 1e6, final ? "true" : "false");
	put(&line, ",\"udp\":{\"sent\":%llu,\"send_errors\":%llu,\"received\":%llu,"
	    "\"duplicated\":%llu,\"reordered\":%llu,\"corrupted\":%llu,\"bad_checksum\":%llu}",
	    (unsigned long long)t->udp_sent, (unsigned long long)t->udp_send_errors,
	    (unsigned long long)t->udp_received, (unsigned long long)t->udp_duplicated,
	    (unsigned long long)t->udp_reordered, (unsigned long long)t->udp_corrupted,
	    (unsigned long long)udp_checksum_errors());
	put(&line, ",\"tcp\":{\"state\":\"%s\",\"error\":\"%s\",\"sent\":%llu,\"received\":%llu",
	    tcp_state_names[t->tcp_state], t->tcp_error ? strerror(t->tcp_error) : "",
	    (unsigned long long)t->tcp_sent, (unsigned long long)t->tcp_received);
	if (t->tcp_state == TCP_CORRUPTED)
		put(&line, ",\"bad_offset\":%llu", (unsigned long long)t->tcp_bad_offset);
	put(&line, "}");
	if (t->guest) {
		put_nic(&line);
	} else {
		put(&line, ",\"echo\":{\"udp\":%llu,\"tcp\":%llu,\"bad\":%s}",
		    (unsigned long long)t->echo_udp, (unsigned long long)t->echo_tcp,
		    t->echo_bad ? "true" : "false");
		if (t->clock_offset != INT64_MAX)
			put(&line, ",\"clock_offset_ms\":%.2f", t->clock_offset / 1e6);
		t->clock_offset = INT64_MAX;
		put(&line, ",\"gaps\":{");
		put_gap(&line, &t->gap_rx, now);
		put(&line, ",");
		put_gap(&line, &t->gap_echo, now);
		put(&line, ",");
		put_gap(&line, &t->gap_tcp, now);
		put(&line, "}");
	}
	put(&line, "}\n");
	put_out(t, &line);
}

/* Something arrived: tell how long that had not happened, if it was long. */
static void gap_event(struct traffic *t, struct gap *gap)
{
	uint64_t now = now_ns();
	uint64_t length = gap->last ? now - gap->last : 0;
	struct line line = { .used = 0 };

	gap->last = now;
	if (length > gap->longest)
		gap->longest = length;
	if (t->guest || length < t->min_gap)
		return;
	put(&line, "{\"gap\":\"%s\",\"end_ms\":%.1f,\"length_ms\":%.1f}\n",
	    gap->name, now / 1e6, length / 1e6);
	put_out(t, &line);
}

/*
 * UDP.
 */

static size_t datagram_words(size_t size)
{
	return size / 8 - 2;	/* all words after @sum */
}

static uint64_t datagram_sum(const struct datagram *d, size_t size)
{
	const uint64_t *word = &d->seq;
	uint64_t sum = size;

	for (size_t i = 0; i < datagram_words(size); i++)
		sum = splitmix(sum ^ word[i]);
	return sum;
}

static void udp_send(struct traffic *t)
{
	uint64_t buf[MAX_DATAGRAM / 8];
	struct datagram *d = (struct datagram *)buf;
	size_t fill = (t->size - sizeof(*d)) / 8;
	ssize_t n;

	d->magic = MAGIC;
	d->seq = t->udp_sent;
	d->time = now_ns();
	d->udp_received = t->udp_received;
	d->tcp_received = t->tcp_received;
	d->tcp_bad = t->tcp_state == TCP_BROKEN || t->tcp_state == TCP_CORRUPTED;
	for (size_t i = 0; i < fill; i++)
		d->fill[i] = splitmix(d->seq + i);
	d->sum = datagram_sum(d, t->size);
	n = sendto(t->udp, d, t->size, MSG_DONTWAIT,
		   (struct sockaddr *)&t->udp_peer, sizeof(t->udp_peer));
	if (n == (ssize_t)t->size)
		t->udp_sent++;
	else
		t->udp_send_errors++;
}

/* Note a number; returns whether it had been there before. */
static bool udp_seen(struct traffic *t, uint64_t seq)
{
	size_t byte = seq / 8;
	unsigned char bit = 1 << (seq & 7);
	bool before;

	if (byte >= t->seen_size) {
		size_t size = (byte + 1) * 2;

		t->seen = realloc(t->seen, size);
		if (!t->seen)
			die("out of memory");
		memset(t->seen + t->seen_size, 0, size - t->seen_size);
		t->seen_size = size;
	}
	before = t->seen[byte] & bit;
	t->seen[byte] |= bit;
	return before;
}

static bool datagram_valid(const struct datagram *d, ssize_t n)
{
	size_t fill;

	if (n < (ssize_t)MIN_DATAGRAM || n % 8 || d->magic != MAGIC ||
	    d->seq >= MAX_SEQ || d->sum != datagram_sum(d, n))
		return false;
	fill = (n - sizeof(*d)) / 8;
	for (size_t i = 0; i < fill; i++)
		if (d->fill[i] != splitmix(d->seq + i))
			return false;
	return true;
}

static void udp_take(struct traffic *t, const struct datagram *d)
{
	int64_t offset = now_ns() - d->time;

	if (udp_seen(t, d->seq)) {
		t->udp_duplicated++;
		return;
	}
	t->udp_received++;
	if (d->seq < t->udp_highest)
		t->udp_reordered++;
	else
		t->udp_highest = d->seq;
	gap_event(t, &t->gap_rx);
	if (t->guest)
		return;
	if (offset < t->clock_offset)
		t->clock_offset = offset;
	if (d->udp_received > t->echo_udp) {
		t->echo_udp = d->udp_received;
		gap_event(t, &t->gap_echo);
	}
	if (d->tcp_received > t->echo_tcp)
		t->echo_tcp = d->tcp_received;
	t->echo_bad |= d->tcp_bad;
}

static void udp_receive(struct traffic *t)
{
	uint64_t buf[MAX_DATAGRAM / 8 + 1];
	struct sockaddr_in from;
	socklen_t from_len;
	ssize_t n;

	for (;;) {
		from_len = sizeof(from);
		n = recvfrom(t->udp, buf, sizeof(buf), MSG_DONTWAIT,
			     (struct sockaddr *)&from, &from_len);
		if (n < 0)
			return;	/* none left, or an ICMP error: the counters tell */
		if (!datagram_valid((struct datagram *)buf, n)) {
			t->udp_corrupted++;
			continue;
		}
		if (!t->guest) {
			t->udp_peer = from;
			t->have_peer = true;
		}
		udp_take(t, (struct datagram *)buf);
	}
}

/*
 * TCP.
 */

static void tcp_break(struct traffic *t, int error)
{
	if (t->tcp_state != TCP_CORRUPTED)	/* the worse news */
		t->tcp_state = TCP_BROKEN;
	t->tcp_error = error;
	close(t->tcp);
	t->tcp = -1;
	report(t, false);
}

static void tcp_began(struct traffic *t, int fd)
{
	int one = 1;

	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	t->tcp = fd;
	t->tcp_state = TCP_OPEN;
	t->tcp_ticked = now_ns();
	report(t, false);
}

/* Whether the stream still carries data from us. */
static bool tcp_can_send(const struct traffic *t)
{
	return t->tcp >= 0 && !t->tcp_sent_fin;
}

static void tcp_send(struct traffic *t)
{
	unsigned char buf[TCP_CHUNK];
	uint64_t now = now_ns();
	uint64_t most = t->rate / 10 + 1;	/* no more than 100 ms at a time */

	t->tcp_budget += (now - t->tcp_ticked) * t->rate / SECOND;
	if (t->tcp_budget > most)
		t->tcp_budget = most;
	t->tcp_ticked = now;
	while (t->tcp_budget) {
		size_t len = t->tcp_budget < sizeof(buf) ? t->tcp_budget : sizeof(buf);
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			buf[i] = tcp_byte(t->guest, t->tcp_sent + i);
		n = send(t->tcp, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				tcp_break(t, errno);
			return;
		}
		t->tcp_sent += n;
		t->tcp_budget -= n;
	}
}

static void tcp_receive(struct traffic *t)
{
	unsigned char buf[TCP_CHUNK];
	ssize_t n = recv(t->tcp, buf, sizeof(buf), MSG_DONTWAIT);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			tcp_break(t, errno);
		return;
	}
	if (n == 0) {
		t->tcp_got_fin = true;
		t->fin_since = now_ns();
		return;
	}
	for (ssize_t i = 0; i < n; i++) {
		if (buf[i] == tcp_byte(!t->guest, t->tcp_received + i))
			continue;
		if (t->tcp_state != TCP_CORRUPTED) {
			t->tcp_state = TCP_CORRUPTED;
			t->tcp_bad_offset = t->tcp_received + i;
		}
		break;
	}
	t->tcp_received += n;
	gap_event(t, &t->gap_tcp);
}

/* Close our half; what was sent before still arrives. */
static void tcp_finish(struct traffic *t)
{
	if (!tcp_can_send(t))
		return;
	shutdown(t->tcp, SHUT_WR);
	t->tcp_sent_fin = true;
}

static void tcp_connect(struct traffic *t)
{
	uint64_t limit = now_ns() + CONNECT_LIMIT;

	for (;;) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0)
			die("socket: %s", strerror(errno));
		if (!connect(fd, (struct sockaddr *)&t->address, sizeof(t->address))) {
			tcp_began(t, fd);
			return;
		}
		if (now_ns() > limit)
			die("no connection: %s", strerror(errno));
		close(fd);
		usleep(100000);
	}
}

static void open_sockets(struct traffic *t)
{
	int one = 1, buffer = 4 << 20;

	t->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (t->udp < 0)
		die("socket: %s", strerror(errno));
	/* a second without the CPU is not to look like a loss on the wire */
	setsockopt(t->udp, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof(buffer));
	if (t->guest) {
		t->udp_peer = t->address;
		tcp_connect(t);
		t->have_peer = true;
		return;
	}
	if (bind(t->udp, (struct sockaddr *)&t->address, sizeof(t->address)))
		die("UDP bind: %s", strerror(errno));
	t->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(t->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (t->listener < 0 ||
	    bind(t->listener, (struct sockaddr *)&t->address, sizeof(t->address)) ||
	    listen(t->listener, 1))
		die("TCP listen: %s", strerror(errno));
}

/*
 * The loop.
 */

static void begin_finish(struct traffic *t)
{
	if (t->finishing)
		return;
	t->finishing = true;
	t->finish_since = now_ns();
	tcp_finish(t);
}

static bool finished(const struct traffic *t, uint64_t now)
{
	if (!t->finishing)
		return false;
	if (t->tcp_got_fin && now - t->fin_since > DRAIN)
		return true;
	/* without a connection there is nobody to wait for */
	return now - t->finish_since > (t->tcp < 0 ? DRAIN : t->finish_limit);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void take_signal(struct traffic *t, int fd)
{
	struct signalfd_siginfo info;

	if (read(fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo == SIGUSR1)
		report(t, false);
	else
		begin_finish(t);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The next time on a grid; after a delay, from now on: no bursts. */
static uint64_t next_time(uint64_t last, uint64_t step, uint64_t now)
{
	return last + step > now ? last + step : now + step;
}

static void wait_for(struct traffic *t, int signals, uint64_t until)
{
	struct pollfd fds[] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = t->udp, .events = POLLIN },
		{ .fd = t->tcp_got_fin ? -1 : t->tcp, .events = POLLIN },
		{ .fd = t->tcp_state == TCP_WAITING ? t->listener : -1, .events = POLLIN },
	};
	uint64_t now = now_ns();
	uint64_t left = until > now ? until - now : 0;
	struct timespec timeout = { left / SECOND, left % SECOND };

	if (ppoll(fds, 4, &timeout, NULL) <= 0)
		return;
	if (fds[0].revents)
		take_signal(t, signals);
	if (fds[1].revents)
		udp_receive(t);
	if (fds[2].revents)
		tcp_receive(t);
	if (fds[3].revents) {
		int fd = accept4(t->listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			tcp_began(t, fd);
	}
}

static void run(struct traffic *t)
{
	int signals = open_signals();
	uint64_t udp_at, tcp_at, report_at, now;

	open_sockets(t);
	udp_at = now_ns();
	tcp_at = udp_at;
	report_at = udp_at;
	for (;;) {
		now = now_ns();
		if (now >= udp_at) {
			if (t->have_peer && !t->finishing)
				udp_send(t);
			udp_at = next_time(udp_at, t->interval, now);
		}
		if (now >= tcp_at) {
			if (tcp_can_send(t))
				tcp_send(t);
			tcp_at = next_time(tcp_at, TCP_TICK, now);
		}
		if (now >= report_at) {
			report(t, false);
			report_at = next_time(report_at, t->period, now);
		}
		if (t->guest && t->tcp_got_fin)
			begin_finish(t);
		if (finished(t, now))
			break;
		wait_for(t, signals, earlier(udp_at, earlier(tcp_at, report_at)));
	}
	if (t->tcp_state == TCP_OPEN && t->tcp_got_fin)
		t->tcp_state = TCP_FINISHED;
	report(t, true);
}

static int open_out(const char *path)
{
	struct termios tio;
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOCTTY | O_CLOEXEC, 0644);

	if (fd < 0)
		die("%s: %s", path, strerror(errno));
	if (!tcgetattr(fd, &tio)) {
		cfmakeraw(&tio);
		tcsetattr(fd, TCSANOW, &tio);
	}
	return fd;
}

static void usage(void)
{
	fprintf(stderr,
		"usage: traffic peer|guest ADDRESS [-o FILE] [-r BYTES_PER_S] [-i MICROSECONDS]\n"
		"               [-s DATAGRAM_SIZE] [-p REPORT_MS] [-g GAP_MS] [-f FINISH_S]\n");
	exit(2);
}

static uint64_t number(const char *text, uint64_t low, uint64_t high)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (!*text || *end || value < low || value > high)
		die("'%s' is not a number from %llu to %llu", text,
		    (unsigned long long)low, (unsigned long long)high);
	return value;
}

int main(int argc, char **argv)
{
	struct traffic t = {
		.rate = 250000, .interval = 4 * MS, .period = 500 * MS,
		.min_gap = 5 * MS, .size = 256, .finish_limit = 20 * SECOND,
		.out = STDOUT_FILENO, .udp = -1, .tcp = -1, .listener = -1,
		.clock_offset = INT64_MAX,
		.gap_rx.name = "guest-to-peer", .gap_echo.name = "peer-to-guest",
		.gap_tcp.name = "tcp",
		.address = { .sin_family = AF_INET, .sin_port = htons(PORT) },
	};
	int option;

	if (argc < 3 || (strcmp(argv[1], "peer") && strcmp(argv[1], "guest")) ||
	    !inet_aton(argv[2], &t.address.sin_addr))
		usage();
	t.guest = !strcmp(argv[1], "guest");
	optind = 3;
	while ((option = getopt(argc, argv, "o:r:i:s:p:g:f:")) != -1) {
		switch (option) {
		case 'o':
			t.out = open_out(optarg);
			break;
		case 'r':
			t.rate = number(optarg, 0, 1000000000);
			break;
		case 'i':
			t.interval = number(optarg, 0, 10000000) * 1000;
			break;
		case 's':
			t.size = number(optarg, MIN_DATAGRAM, MAX_DATAGRAM) / 8 * 8;
			break;
		case 'p':
			t.period = number(optarg, 10, 60000) * MS;
			break;
		case 'g':
			t.min_gap = number(optarg, 1, 60000) * MS;
			break;
		case 'f':
			t.finish_limit = number(optarg, 1, 600) * SECOND;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
	/* The peer's gaps are to be the guest's; a guest is to be an ordinary one. */
	if (!t.guest)
		setpriority(PRIO_PROCESS, 0, -20);
	run(&t);
	return t.tcp_state == TCP_FINISHED ? 0 : 1;
}
