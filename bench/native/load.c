/* A load generator that is not the bottleneck: one thread, epoll, kept-alive connections, a closed loop on each.
 *
 *   load --port P --body FILE (--expect FILE | --marks FILE) [--path P] [--auth TEXT] [--header TEXT ...]
 *        [--connections N] [--stagger-ms N] [--warmup-ms N] [--interval-ms N] [--period-ms N] [--watch PID ...]
 *
 * Every answer must have status 200 and exactly the bytes of --expect, else it is an error. For a subject that writes
 * answers anew, --marks has lines that must occur in the answer, each after the one before, and the answer must end as
 * its framing says; each mark then counts as an event (its first character must not occur in it again). Figures are of the interval
 * that starts after the warm-up: completed calls, SSE events (counted by their place in the expected bytes), latencies
 * and first-byte latencies of the calls completed in it, lateness of events against --period-ms, counted from the
 * first event of their stream. --watch adds the CPU time (ns, all threads) that a process used in just that interval.
 * `machine_cpu_ns` is what all processes used, so that a reader can tell how much work was none of the bench's.
 * Connections start evenly spread over --stagger-ms. One line of JSON at the end; percentiles are exact. */
#define _GNU_SOURCE
#include "common.h"

#include <dirent.h>
#include <getopt.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define MAX_WATCHED 24
#define MAX_HEADERS 8
#define MAX_ERRORS 100
#define STALL_NS (10 * NS_PER_S)
#define GRACE_NS (300 * NS_PER_MS)

enum body_state { HEAD, LENGTH, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct conn {
    int fd;
    bool wants_out, reopen, busy; /* busy: a call is under way */
    size_t sent;                  /* bytes of the request that left */
    enum body_state state;
    int64_t sent_at, first_byte_at, first_event_at, heard_at;
    size_t remaining;             /* of the body, or of the current chunk */
    size_t at, event;             /* position in the answer; events that ended before it */
    size_t matched;               /* characters of the next mark that were just seen */
    int line_size;                /* characters of the current chunk-size or trailer line */
    size_t head_size;
    char head[8192];
};

struct samples {
    int64_t *values;
    size_t size, capacity;
};

struct watched {
    long pid;
    int64_t before, after;
};

static struct {
    int port, connections;
    int64_t stagger, warmup, interval, period;
    const char *path, *auth, *headers[MAX_HEADERS];
    int header_count;
    struct bytes request, expected;
    size_t *event_ends, event_count;
    const char **marks; /* one an event; NULL where every byte is compared */
    struct watched watched[MAX_WATCHED];
    int watched_count;
} plan = {.connections = 1, .warmup = 500 * NS_PER_MS, .interval = 3 * NS_PER_S, .path = "/v1/chat/completions"};

static struct {
    int64_t starts_at, ends_at;   /* of the measured interval */
    int64_t calls, events, bytes, errors, reconnects;
    int64_t own_cpu_before, own_cpu_after, machine_cpu_before, machine_cpu_after;
    char first_error[512];
    struct samples latency, first_byte, lateness;
} seen;

static int epoll_fd;
static int64_t now; /* read once a wake-up */
static struct conn *conns;

static void sample(struct samples *s, int64_t value) {
    if (s->size == s->capacity) {
        s->capacity = s->capacity ? 2 * s->capacity : 65536;
        s->values = grow(s->values, s->capacity * sizeof *s->values);
    }
    s->values[s->size++] = value;
}

static bool measuring(void) { return now >= seen.starts_at && now < seen.ends_at; }

/* ---- connections ---- */

static void open_conn(struct conn *c) {
    struct sockaddr_in address = loopback(plan.port);
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof address))
        die("cannot connect to port %d: %s", plan.port, strerror(errno));
    set_nonblocking(c->fd);
    set_nodelay(c->fd);
    c->wants_out = c->reopen = false;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &event);
}

static void send_rest(struct conn *c) {
    while (c->sent < plan.request.size) {
        ssize_t sent = send(c->fd, plan.request.data + c->sent, plan.request.size - c->sent, MSG_NOSIGNAL);
        if (sent < 0) break; /* a broken connection is noticed by its reading side */
        c->sent += (size_t)sent;
    }
    bool out = c->sent < plan.request.size;
    if (out == c->wants_out) return;
    c->wants_out = out;
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void start_call(struct conn *c) {
    c->state = HEAD;
    c->busy = true;
    c->sent = c->head_size = c->at = c->event = c->matched = 0;
    c->first_byte_at = c->first_event_at = 0;
    c->heard_at = c->sent_at = now_ns();
    send_rest(c);
}

static void restart(struct conn *c) {
    close(c->fd);
    open_conn(c);
    start_call(c);
}

__attribute__((format(printf, 2, 3))) static void fail_call(struct conn *c, const char *format, ...) {
    if (!seen.errors++) {
        va_list args;
        va_start(args, format);
        vsnprintf(seen.first_error, sizeof seen.first_error, format, args);
        va_end(args);
    }
    if (seen.errors < MAX_ERRORS && now < seen.ends_at) restart(c);
}

/* ---- answers ---- */

static void end_call(struct conn *c) {
    c->busy = false;
    if (plan.marks && c->event != plan.event_count) {
        fail_call(c, "answer ended after %zu of %zu pieces, %zu bytes", c->event, plan.event_count, c->at);
        return;
    }
    if (!plan.marks && c->at != plan.expected.size) {
        fail_call(c, "answer ended after %zu of %zu bytes", c->at, plan.expected.size);
        return;
    }
    if (measuring()) {
        seen.calls++;
        sample(&seen.latency, now - c->sent_at);
        sample(&seen.first_byte, c->first_byte_at - c->sent_at);
    }
    if (now >= seen.ends_at) return;
    if (c->reopen) {
        seen.reconnects++;
        restart(c);
    } else {
        start_call(c);
    }
}

static void note_event(struct conn *c) {
    if (!c->event++) c->first_event_at = now;
    if (!measuring()) return;
    seen.events++;
    if (!plan.period) return;
    int64_t late = now - c->first_event_at - (int64_t)(c->event - 1) * plan.period;
    sample(&seen.lateness, late > 0 ? late : 0);
}

static void find_marks(struct conn *c, const char *data, size_t size) {
    for (size_t i = 0; i < size && c->event < plan.event_count;) {
        const char *mark = plan.marks[c->event];
        if (!c->matched) {
            const char *found = memchr(data + i, *mark, size - i);
            if (!found) return;
            i = (size_t)(found - data);
        }
        if (data[i] != mark[c->matched]) {
            c->matched = 0; /* this character may be the first of the mark */
            continue;
        }
        i++;
        if (mark[++c->matched]) continue;
        c->matched = 0;
        note_event(c);
    }
}

static bool take_body(struct conn *c, const char *data, size_t size) {
    if (plan.marks) {
        c->at += size;
        if (measuring()) seen.bytes += (int64_t)size;
        find_marks(c, data, size);
        return true;
    }
    if (c->at + size > plan.expected.size || memcmp(plan.expected.data + c->at, data, size) != 0) {
        fail_call(c, "answer differs from the upstream's within %zu bytes after byte %zu", size, c->at);
        return false;
    }
    c->at += size;
    if (measuring()) seen.bytes += (int64_t)size;
    while (c->event < plan.event_count && plan.event_ends[c->event] <= c->at) note_event(c);
    return true;
}

/* Bytes of the chunked framing are eaten one by one, data in spans. Returns what was eaten, or -1 when the call is over. */
static ssize_t take_framing(struct conn *c, char byte) {
    if (c->state == CHUNK_END) {
        if (byte == '\n') {
            c->state = CHUNK_SIZE;
            c->remaining = 0;
            c->line_size = 0;
        }
    } else if (c->state == CHUNK_SIZE) {
        int digit = byte >= '0' && byte <= '9' ? byte - '0' : (byte | 32) >= 'a' && (byte | 32) <= 'f' ? (byte | 32) - 'a' + 10 : -1;
        if (digit >= 0) c->remaining = c->remaining * 16 + (size_t)digit;
        if (byte == '\n') {
            c->state = c->remaining ? CHUNK_DATA : TRAILER;
            c->line_size = 0;
        }
    } else if (byte == '\n') {
        if (c->line_size <= 1) {
            end_call(c);
            return -1;
        }
        c->line_size = 0;
    }
    if (byte != '\n') c->line_size++;
    return 1;
}

/* Returns bytes of the body that were eaten, or -1 when the call is over. */
static ssize_t take_some(struct conn *c, const char *data, size_t size) {
    if (c->state != LENGTH && c->state != CHUNK_DATA) return take_framing(c, *data);
    size_t span = size < c->remaining ? size : c->remaining;
    if (!take_body(c, data, span)) return -1;
    c->remaining -= span;
    if (c->remaining) return (ssize_t)span;
    if (c->state == LENGTH) {
        end_call(c);
        return -1;
    }
    c->state = CHUNK_END;
    return (ssize_t)span;
}

/* Read status and framing from a complete head. Returns false when the call is over. */
static bool read_head(struct conn *c, const char *rest) {
    int status = 0;
    sscanf(c->head, "HTTP/1.%*d %d", &status);
    if (status != 200) {
        fail_call(c, "status %d: %.300s", status, rest);
        return false;
    }
    const char *length = strcasestr(c->head, "\r\nContent-Length:");
    const char *encoding = strcasestr(c->head, "\r\nTransfer-Encoding:");
    c->reopen = strcasestr(c->head, "\r\nConnection: close") != NULL;
    c->remaining = length ? strtoul(length + 17, NULL, 10) : 0;
    c->line_size = 0;
    if (!encoding && !length) {
        fail_call(c, "answer without Content-Length or chunks");
        return false;
    }
    c->state = encoding ? CHUNK_SIZE : LENGTH;
    return true;
}

/* Returns bytes of this piece that belong to the head, or -1 when the call is over. */
static ssize_t take_head(struct conn *c, const char *data, size_t size) {
    size_t before = c->head_size, room = sizeof c->head - 1 - before;
    size_t copied = size < room ? size : room;
    if (!c->first_byte_at) c->first_byte_at = now;
    memcpy(c->head + before, data, copied);
    c->head_size += copied;
    c->head[c->head_size] = 0;
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end && copied < size) {
        fail_call(c, "head of the answer is too large");
        return -1;
    }
    if (!end) return (ssize_t)size;
    end[2] = 0;
    size_t eaten = (size_t)(end + 4 - c->head) - before;
    char rest[301] = "";
    memcpy(rest, data + eaten, size - eaten < 300 ? size - eaten : 300);
    return read_head(c, rest) ? (ssize_t)eaten : -1;
}

static void receive(struct conn *c) {
    static char buffer[65536];
    ssize_t got = recv(c->fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        if (now < seen.ends_at) fail_call(c, "connection closed after %zu of %zu bytes", c->at, plan.expected.size);
        else epoll_ctl(epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
        return;
    }
    c->heard_at = now;
    for (ssize_t at = 0, eaten; at < got; at += eaten) {
        const char *data = buffer + at;
        size_t size = (size_t)(got - at);
        eaten = c->state == HEAD ? take_head(c, data, size) : take_some(c, data, size);
        if (eaten < 0) return;
    }
}

/* ---- CPU time of other processes ---- */

static int64_t first_number(const char *path) {
    long long value = -1;
    FILE *file = fopen(path, "r");
    if (!file) return -1;
    if (fscanf(file, "%lld", &value) != 1) value = -1;
    fclose(file);
    return value;
}

/* Ticks of 10 ms: only where the kernel keeps no schedstat. */
static int64_t coarse_cpu_ns(long pid) {
    char path[64], text[1024];
    long long user, system;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    FILE *file = fopen(path, "r");
    if (!file) die("no process %ld", pid);
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = 0;
    char *fields = strrchr(text, ')'); /* the name may contain anything */
    if (!fields || sscanf(fields + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lld %lld", &user, &system) != 2)
        die("cannot read %s", path);
    return (user + system) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static int64_t cpu_ns(long pid) {
    char path[512];
    int64_t total = 0;
    snprintf(path, sizeof path, "/proc/%ld/task", pid);
    DIR *tasks = opendir(path);
    if (!tasks) die("no process %ld", pid);
    for (struct dirent *entry; (entry = readdir(tasks));) {
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "/proc/%ld/task/%s/schedstat", pid, entry->d_name);
        int64_t ns = first_number(path);
        if (ns < 0) {
            closedir(tasks);
            return coarse_cpu_ns(pid);
        }
        total += ns;
    }
    closedir(tasks);
    return total;
}

/* What all CPUs together have worked, in ticks of 10 ms: the first line of /proc/stat less idle and waiting. */
static int64_t machine_cpu_ns(void) {
    long long user, nice, system, idle, wait, irq, softirq;
    FILE *file = fopen("/proc/stat", "r");
    if (!file || fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld", &user, &nice, &system, &idle, &wait, &irq, &softirq) != 7)
        die("cannot read /proc/stat");
    fclose(file);
    return (user + nice + system + irq + softirq) * (NS_PER_S / sysconf(_SC_CLK_TCK));
}

static int64_t own_cpu_ns(void) {
    struct timespec ts;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static void start_interval(void) {
    for (int i = 0; i < plan.watched_count; i++) plan.watched[i].before = cpu_ns(plan.watched[i].pid);
    seen.own_cpu_before = own_cpu_ns();
    seen.machine_cpu_before = machine_cpu_ns();
}

static void end_interval(void) {
    for (int i = 0; i < plan.watched_count; i++) plan.watched[i].after = cpu_ns(plan.watched[i].pid);
    seen.own_cpu_after = own_cpu_ns();
    seen.machine_cpu_after = machine_cpu_ns();
}

/* ---- the run ---- */

static int64_t deadline(int started) {
    if (started < plan.connections) return 0;
    return now < seen.starts_at ? seen.starts_at : seen.ends_at;
}

static void wait_and_work(int64_t until) {
    struct epoll_event events[512];
    int64_t left = until - now_ns();
    struct timespec timeout = {left > 0 ? left / NS_PER_S : 0, left > 0 ? left % NS_PER_S : 0};
    int count = epoll_pwait2(epoll_fd, events, 512, &timeout, NULL);
    now = now_ns();
    for (int i = 0; i < count && seen.errors < MAX_ERRORS; i++) {
        struct conn *c = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) send_rest(c);
        if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(c);
    }
}

static void find_stalled(void) {
    for (int i = 0; i < plan.connections; i++)
        if (conns[i].heard_at && now - conns[i].heard_at > STALL_NS && !seen.errors++)
            snprintf(seen.first_error, sizeof seen.first_error, "no byte of an answer for %d s", (int)(STALL_NS / NS_PER_S));
}

/* Calls that were begun are heard to their end, or the subject would be left with a batch of clients that went away.
 * Long streams outlast the grace, and are cut. */
static void finish(void) {
    int64_t until = seen.ends_at + GRACE_NS;
    for (bool busy = true; busy && now < until && seen.errors < MAX_ERRORS;) {
        busy = false;
        for (int i = 0; i < plan.connections && !busy; i++) busy = conns[i].busy;
        if (busy) wait_and_work(until);
    }
}

static void run(void) {
    int64_t begin = now = now_ns();
    bool started_interval = false;
    seen.starts_at = begin + plan.warmup;
    seen.ends_at = seen.starts_at + plan.interval;
    for (int started = 0; now < seen.ends_at && seen.errors < MAX_ERRORS;) {
        int64_t start_next = begin + plan.stagger * started / plan.connections;
        if (started < plan.connections && now >= start_next) {
            open_conn(&conns[started]);
            start_call(&conns[started++]);
        }
        if (!started_interval && now >= seen.starts_at) {
            started_interval = true;
            start_interval();
        }
        int64_t until = deadline(started);
        wait_and_work(until ? until : begin + plan.stagger * started / plan.connections);
    }
    end_interval();
    find_stalled();
    finish();
}

/* ---- the report ---- */

static int by_value(const void *a, const void *b) {
    int64_t left = *(const int64_t *)a, right = *(const int64_t *)b;
    return (left > right) - (left < right);
}

static void print_samples(const char *name, struct samples *s) {
    double sum = 0;
    if (!s->size) return;
    qsort(s->values, s->size, sizeof *s->values, by_value);
    for (size_t i = 0; i < s->size; i++) sum += (double)s->values[i];
    printf("\"%s\":{\"count\":%zu,\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f,\"mean\":%.1f},", name, s->size,
           (double)s->values[s->size / 2] / 1e3, (double)s->values[s->size * 99 / 100] / 1e3,
           (double)s->values[s->size - 1] / 1e3, sum / (double)s->size / 1e3);
}

static void print_text(const char *text) {
    putchar('"');
    for (; *text; text++) {
        unsigned char byte = (unsigned char)*text;
        if (byte < 32 || byte == '"' || byte == '\\' || byte > 126) printf("\\u%04x", byte);
        else putchar(byte);
    }
    putchar('"');
}

static void report(void) {
    int64_t end = now < seen.ends_at ? now : seen.ends_at; /* earlier only after too many errors */
    printf("{\"seconds\":%.6f,\"calls\":%lld,\"events\":%lld,\"bytes\":%lld,\"errors\":%lld,\"reconnects\":%lld,",
           (double)(end - seen.starts_at) / 1e9, (long long)seen.calls, (long long)seen.events, (long long)seen.bytes,
           (long long)seen.errors, (long long)seen.reconnects);
    print_samples("latency_us", &seen.latency);
    print_samples("first_byte_us", &seen.first_byte);
    print_samples("lateness_us", &seen.lateness);
    printf("\"cpu_ns\":{");
    for (int i = 0; i < plan.watched_count; i++)
        printf("%s\"%ld\":%lld", i ? "," : "", plan.watched[i].pid, (long long)(plan.watched[i].after - plan.watched[i].before));
    printf("},\"own_cpu_ns\":%lld,\"machine_cpu_ns\":%lld,\"first_error\":", (long long)(seen.own_cpu_after - seen.own_cpu_before),
           (long long)(seen.machine_cpu_after - seen.machine_cpu_before));
    print_text(seen.first_error);
    printf("}\n");
}

/* ---- arguments ---- */

static struct bytes read_all(const char *path) {
    struct bytes all = {0};
    FILE *file = fopen(path, "rb");
    if (!file) die("cannot read %s", path);
    size_t got;
    do {
        bytes_reserve(&all, 65536);
        got = fread(all.data + all.size, 1, 65536, file);
        all.size += got;
    } while (got);
    fclose(file);
    return all;
}

static void find_events(void) {
    size_t capacity = 0;
    const char *data = plan.expected.data, *end = data + plan.expected.size;
    for (const char *at = data; (at = memmem(at, (size_t)(end - at), "\n\n", 2)); at += 2) {
        if (plan.event_count == capacity)
            plan.event_ends = grow(plan.event_ends, (capacity = 2 * capacity + 256) * sizeof *plan.event_ends);
        plan.event_ends[plan.event_count++] = (size_t)(at + 2 - data);
    }
}

static void read_marks(const char *path) {
    struct bytes all = read_all(path);
    bytes_append(&all, "", 1);
    plan.marks = grow(NULL, (all.size + 1) * sizeof *plan.marks);
    for (char *mark = strtok(all.data, "\n"); mark; mark = strtok(NULL, "\n")) {
        if (strchr(mark + 1, *mark)) die("the first character of a mark occurs in it again: %s", mark);
        plan.marks[plan.event_count++] = mark;
    }
}

static void make_request(const char *body_path) {
    char head[2048];
    char more[1024] = "";
    struct bytes body = read_all(body_path);
    for (int i = 0, at = 0; i < plan.header_count; i++) {
        at += snprintf(more + at, sizeof more - (size_t)at, "%s\r\n", plan.headers[i]);
        if ((size_t)at >= sizeof more) die("headers are too large");
    }
    int size = snprintf(head, sizeof head,
        "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s%sContent-Type: application/json\r\nAccept: */*\r\n"
        "User-Agent: bench/1\r\nContent-Length: %zu\r\n\r\n", plan.path, plan.port, plan.auth ? "Authorization: " : "",
        plan.auth ? plan.auth : "", plan.auth ? "\r\n" : "", more, body.size);
    if (size < 0 || (size_t)size >= sizeof head) die("head of the request is too large");
    bytes_append(&plan.request, head, (size_t)size);
    bytes_append(&plan.request, body.data, body.size);
    free(body.data);
}

static void read_arguments(int argc, char **argv) {
    static const struct option options[] = {
        {"port", 1, 0, 'p'}, {"body", 1, 0, 'b'}, {"expect", 1, 0, 'e'}, {"path", 1, 0, 'u'}, {"auth", 1, 0, 'a'},
        {"connections", 1, 0, 'n'}, {"stagger-ms", 1, 0, 's'}, {"warmup-ms", 1, 0, 'w'}, {"interval-ms", 1, 0, 'i'},
        {"period-ms", 1, 0, 'd'}, {"watch", 1, 0, 'c'},
        {"marks", 1, 0, 'm'}, {"header", 1, 0, 'h'}, {0}};
    const char *body = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': plan.port = atoi(optarg); break;
        case 'b': body = optarg; break;
        case 'e': plan.expected = read_all(optarg); break;
        case 'm': read_marks(optarg); break;
        case 'h':
            if (plan.header_count == MAX_HEADERS) die("at most %d headers can be added", MAX_HEADERS);
            plan.headers[plan.header_count++] = optarg;
            break;
        case 'u': plan.path = optarg; break;
        case 'a': plan.auth = optarg; break;
        case 'n': plan.connections = atoi(optarg); break;
        case 's': plan.stagger = atoi(optarg) * NS_PER_MS; break;
        case 'w': plan.warmup = atoi(optarg) * NS_PER_MS; break;
        case 'i': plan.interval = atoi(optarg) * NS_PER_MS; break;
        case 'd': plan.period = atoi(optarg) * NS_PER_MS; break;
        case 'c':
            if (plan.watched_count == MAX_WATCHED) die("at most %d processes can be watched", MAX_WATCHED);
            plan.watched[plan.watched_count++].pid = atol(optarg);
            break;
        default: die("unknown argument");
        }
    }
    if (!body || !plan.port || plan.connections < 1 || !plan.expected.size == !plan.event_count)
        die("--port, --body and either --expect or --marks are needed");
    make_request(body);
    if (plan.expected.size) find_events();
}

int main(int argc, char **argv) {
    struct rlimit files;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    read_arguments(argc, argv);
    conns = calloc((size_t)plan.connections, sizeof *conns);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || epoll_fd < 0) die("cannot start: %s", strerror(errno));
    run();
    report();
    return 0;
}
