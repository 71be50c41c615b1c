/* A provider that costs next to nothing: OpenAI chat completions with canned answers, one thread, epoll.
 *
 *   upstream PORT [NAME=CHUNKS@PERIOD_MS ...]
 *
 * The model name in the request body chooses what happens. A request with `"stream":true` for a model that was
 * named on the command line is answered as SSE: CHUNKS content events of about 200 bytes, each written on its own,
 * one every PERIOD_MS (0: one a turn of the loop, as fast as the socket takes them), then a usage event where
 * `include_usage` was asked, then `[DONE]`. Every other request is answered with one small completion with usage.
 * The header `x-bench-unpaced: 1` sends a paced answer without its pace (to learn its bytes quickly).
 *
 * The answer to one request body is always the same bytes, so that a load generator can compare them.
 * Connections are kept alive. Bodies need a Content-Length (411 otherwise) of at most 64 MB. */
#define _GNU_SOURCE
#include "common.h"

#include <ctype.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/timerfd.h>

#define MAX_PROFILES 16
#define MAX_BODY (64u << 20)
#define EVENTS_A_TURN 256

struct frame {
    const char *data;
    size_t size;
};

/* One model's stream: frames[0..chunks-1] are content, then usage, then the end. */
struct profile {
    char name[64];
    int chunks;
    int64_t period_ns;
    struct frame *frames;
};

struct conn {
    int fd;
    bool wants_out;              /* EPOLLOUT is armed: the socket did not take everything */
    struct bytes in;
    struct frame unsent;         /* rest of the frame that is being written */
    const struct profile *stream; /* NULL between answers */
    int next_frame;
    bool with_usage, unpaced;
    int64_t due;                 /* when the next frame of a paced stream is to leave */
    int heap_at, ready_at;       /* positions in the two schedules, -1 when absent */
    char small[1024];
};

static struct profile profiles[MAX_PROFILES];
static int profile_count;
static int epoll_fd, timer_fd, listen_fd;

/* ---- schedules: a heap by due time for paced streams, a plain list for those that only wait for their turn ---- */

static struct conn **heap, **ready;
static int heap_size, heap_capacity, ready_size, ready_capacity;

static void heap_place(int at, struct conn *c) {
    heap[at] = c;
    c->heap_at = at;
}

static void heap_up(int at) {
    struct conn *c = heap[at];
    for (; at > 0 && heap[(at - 1) / 2]->due > c->due; at = (at - 1) / 2) heap_place(at, heap[(at - 1) / 2]);
    heap_place(at, c);
}

static void heap_down(int at) {
    struct conn *c = heap[at];
    for (int child; (child = 2 * at + 1) < heap_size; at = child) {
        if (child + 1 < heap_size && heap[child + 1]->due < heap[child]->due) child++;
        if (heap[child]->due >= c->due) break;
        heap_place(at, heap[child]);
    }
    heap_place(at, c);
}

static void heap_add(struct conn *c) {
    if (heap_size == heap_capacity) heap = grow(heap, sizeof *heap * (size_t)(heap_capacity = 2 * heap_capacity + 64));
    heap[heap_size] = c;
    heap_up(heap_size++);
}

static void heap_remove(struct conn *c) {
    int at = c->heap_at;
    c->heap_at = -1;
    if (at != --heap_size) {
        struct conn *last = heap[heap_size];
        heap_place(at, last);
        heap_down(at);
        heap_up(last->heap_at);
    }
}

static void ready_add(struct conn *c) {
    if (ready_size == ready_capacity) ready = grow(ready, sizeof *ready * (size_t)(ready_capacity = 2 * ready_capacity + 64));
    c->ready_at = ready_size;
    ready[ready_size++] = c;
}

static void ready_remove(struct conn *c) {
    ready[c->ready_at] = ready[--ready_size];
    ready[c->ready_at]->ready_at = c->ready_at;
    c->ready_at = -1;
}

static void arm_timer(void) {
    static int64_t armed;
    int64_t due = heap_size ? heap[0]->due : 0;
    if (due == armed) return;
    armed = due;
    struct itimerspec when = {.it_value = {due / NS_PER_S, due % NS_PER_S}};
    timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &when, NULL);
}

/* ---- connections ---- */

static void watch(struct conn *c, bool out) {
    if (c->wants_out == out) return;
    c->wants_out = out;
    struct epoll_event event = {.events = EPOLLIN | (out ? EPOLLOUT : 0u), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &event);
}

static void close_conn(struct conn *c) {
    if (c->heap_at >= 0) heap_remove(c);
    if (c->ready_at >= 0) ready_remove(c);
    close(c->fd);
    free(c->in.data);
    free(c);
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        set_nodelay(fd);
        struct conn *c = calloc(1, sizeof *c);
        if (!c) die("out of memory");
        c->fd = fd;
        c->heap_at = c->ready_at = -1;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event);
    }
}

/* Write what is pending. Returns false when the connection is gone. */
static bool flush(struct conn *c) {
    while (c->unsent.size) {
        ssize_t sent = send(c->fd, c->unsent.data, c->unsent.size, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) return false;
            break;
        }
        c->unsent.data += sent;
        c->unsent.size -= (size_t)sent;
    }
    watch(c, c->unsent.size > 0);
    return true;
}

static bool send_frame(struct conn *c, const char *data, size_t size) {
    c->unsent = (struct frame){data, size};
    return flush(c);
}

/* ---- answers ---- */

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    "x-request-id: req_bench\r\nTransfer-Encoding: chunked\r\n\r\n";

static bool serve(struct conn *c);

static void schedule(struct conn *c) {
    if (c->stream->period_ns && !c->unpaced) {
        if (c->next_frame < c->stream->chunks) c->due += c->stream->period_ns; /* usage and the end follow at once */
        heap_add(c);
    } else {
        ready_add(c);
    }
}

/* Send the next frame of the stream and plan the one after it. Returns false when the connection is gone. */
static bool step(struct conn *c) {
    const struct profile *p = c->stream;
    if (c->next_frame == p->chunks && !c->with_usage) c->next_frame++;
    const struct frame *f = &p->frames[c->next_frame++];
    if (!send_frame(c, f->data, f->size)) return false;
    if (c->unsent.size) return true; /* goes on when the socket takes more */
    if (c->next_frame == p->chunks + 2) {
        c->stream = NULL;
        return serve(c);
    }
    schedule(c);
    return true;
}

static bool start_stream(struct conn *c, const struct profile *p) {
    c->stream = p;
    c->next_frame = 0;
    c->due = now_ns();
    if (!send_frame(c, stream_head, sizeof stream_head - 1)) return false;
    return c->unsent.size ? true : step(c);
}

static bool resume(struct conn *c) {
    if (!flush(c)) return false;
    if (c->unsent.size) return true;
    if (!c->stream) return serve(c);
    if (c->next_frame == c->stream->chunks + 2) {
        c->stream = NULL;
        return serve(c);
    }
    if (c->heap_at < 0 && c->ready_at < 0) schedule(c);
    return true;
}

/* prompt_tokens follows the size of the body, so that the usage of a large prompt is believable. */
static bool send_small(struct conn *c, size_t body_size) {
    char body[512];
    size_t prompt = body_size / 4 + 1;
    int size = snprintf(body, sizeof body,
        "{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"bench-small\","
        "\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The quick brown fox jumps over "
        "the lazy dog.\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%zu,"
        "\"completion_tokens\":11,\"total_tokens\":%zu},\"system_fingerprint\":\"fp_bench\"}", prompt, prompt + 11);
    int total = snprintf(c->small, sizeof c->small,
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nx-request-id: req_bench\r\nContent-Length: %d\r\n\r\n%s",
        size, body);
    return send_frame(c, c->small, (size_t)total);
}

static bool send_error(struct conn *c, const char *status) {
    int total = snprintf(c->small, sizeof c->small, "HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n", status);
    return send_frame(c, c->small, (size_t)total);
}

/* ---- requests ---- */

/* Where the value of a JSON member starts; enough for the flat, unescaped bodies that a bench sends. */
static const char *member(const char *body, size_t size, const char *quoted_name) {
    const char *end = body + size, *at = memmem(body, size, quoted_name, strlen(quoted_name));
    if (!at) return NULL;
    for (at += strlen(quoted_name); at < end && (isspace((unsigned char)*at) || *at == ':');) at++;
    return at < end ? at : NULL;
}

static bool is_true(const char *body, size_t size, const char *quoted_name) {
    const char *value = member(body, size, quoted_name);
    return value && body + size - value >= 4 && memcmp(value, "true", 4) == 0;
}

static const struct profile *find_profile(const char *body, size_t size) {
    const char *value = member(body, size, "\"model\"");
    if (!value || *value != '"') return NULL;
    const char *close_quote = memchr(value + 1, '"', (size_t)(body + size - value - 1));
    if (!close_quote) return NULL;
    size_t length = (size_t)(close_quote - value - 1);
    for (int i = 0; i < profile_count; i++)
        if (strlen(profiles[i].name) == length && memcmp(profiles[i].name, value + 1, length) == 0) return &profiles[i];
    return NULL;
}

static bool answer(struct conn *c, const char *head, const char *body, size_t size) {
    const struct profile *p = is_true(body, size, "\"stream\"") ? find_profile(body, size) : NULL;
    if (!p) return send_small(c, size);
    c->with_usage = is_true(body, size, "\"include_usage\"");
    c->unpaced = strcasestr(head, "\r\nx-bench-unpaced: 1") != NULL;
    return start_stream(c, p);
}

/* Answer the requests that have arrived in full. Returns false when the connection is gone. */
static bool serve(struct conn *c) {
    while (!c->stream && !c->unsent.size && c->in.size) {
        char *end = memmem(c->in.data, c->in.size, "\r\n\r\n", 4);
        if (!end) return true;
        *end = 0; /* the head is text from here on; put back before waiting for more */
        const char *length = strcasestr(c->in.data, "\r\nContent-Length:");
        bool is_get = strncmp(c->in.data, "GET ", 4) == 0;
        size_t body = length ? strtoul(length + 17, NULL, 10) : 0;
        if ((!length && !is_get) || body > MAX_BODY) {
            send_error(c, length ? "413 Content Too Large" : "411 Length Required");
            return false;
        }
        size_t head = (size_t)(end - c->in.data) + 4;
        if (c->in.size < head + body) {
            *end = '\r';
            bytes_reserve(&c->in, head + body - c->in.size);
            return true;
        }
        bool alive = answer(c, c->in.data, c->in.data + head, body);
        c->in.size -= head + body;
        memmove(c->in.data, c->in.data + head + body, c->in.size);
        if (!alive) return false;
    }
    return true;
}

static bool receive(struct conn *c) {
    for (;;) {
        bytes_reserve(&c->in, 16384);
        size_t room = c->in.capacity - c->in.size;
        ssize_t got = recv(c->fd, c->in.data + c->in.size, room, 0);
        if (got == 0 || (got < 0 && errno != EAGAIN)) return false;
        if (got < 0) break;
        c->in.size += (size_t)got;
        if ((size_t)got < room) break;
    }
    return serve(c);
}

/* ---- start and loop ---- */

static struct frame make_frame(const char *event) {
    char *data;
    int size = asprintf(&data, "%zx\r\n%s\r\n", strlen(event), event);
    if (size < 0) die("out of memory");
    return (struct frame){data, (size_t)size};
}

static void make_frames(struct profile *p) {
    char event[512];
    p->frames = calloc((size_t)p->chunks + 2, sizeof *p->frames);
    for (int i = 0; i < p->chunks; i++) {
        snprintf(event, sizeof event,
            "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s\","
            "\"choices\":[{\"index\":0,\"delta\":{\"content\":\" word%06d\"},\"logprobs\":null,\"finish_reason\":%s}]}\n\n",
            p->name, i, i == p->chunks - 1 ? "\"stop\"" : "null");
        p->frames[i] = make_frame(event);
    }
    snprintf(event, sizeof event,
        "data: {\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"%s\","
        "\"choices\":[],\"usage\":{\"prompt_tokens\":32,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n",
        p->name, p->chunks * 2, p->chunks * 2 + 32);
    p->frames[p->chunks] = make_frame(event);
    static const char done[] = "e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n";
    p->frames[p->chunks + 1] = (struct frame){done, sizeof done - 1};
}

static void add_profile(const char *text) {
    struct profile *p = &profiles[profile_count++];
    int period_ms;
    if (profile_count > MAX_PROFILES || sscanf(text, "%63[^=]=%d@%d", p->name, &p->chunks, &period_ms) != 3 || p->chunks < 1)
        die("not NAME=CHUNKS@PERIOD_MS: %s", text);
    p->period_ns = period_ms * NS_PER_MS;
    make_frames(p);
}

static void listen_on(int port) {
    struct sockaddr_in address = loopback(port);
    int on = 1;
    listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listen_fd, (struct sockaddr *)&address, sizeof address) || listen(listen_fd, 4096))
        die("cannot listen on port %d: %s", port, strerror(errno));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listen_fd};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listen_fd, &event);
    event.data.ptr = &timer_fd;
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
}

static volatile sig_atomic_t told_to_hang_up;

static void tell_to_hang_up(int number) {
    (void)number;
    told_to_hang_up = 1;
}

/* All paced streams end at the same instant, in the middle. */
static void hang_up(void) {
    told_to_hang_up = 0;
    while (heap_size) close_conn(heap[0]);
}

static void run_paced(void) {
    int64_t now = now_ns();
    while (heap_size && heap[0]->due <= now) {
        struct conn *c = heap[0];
        heap_remove(c);
        if (!step(c)) close_conn(c);
    }
    arm_timer();
}

/* From the back, because a stream that ends or blocks leaves the list and one that goes on returns to its end. */
static void run_ready(void) {
    for (int i = ready_size - 1; i >= 0; i--) {
        struct conn *c = ready[i];
        ready_remove(c);
        if (!step(c)) close_conn(c);
    }
}

/* Timers and turns run after the batch of events: they may close connections, and no event may name a closed one. */
static void turn(void) {
    struct epoll_event events[EVENTS_A_TURN];
    int count = epoll_wait(epoll_fd, events, EVENTS_A_TURN, ready_size ? 0 : -1);
    for (int i = 0; i < count; i++) {
        void *source = events[i].data.ptr;
        uint64_t expirations;
        if (source == &listen_fd) {
            accept_all();
        } else if (source == &timer_fd) {
            if (read(timer_fd, &expirations, sizeof expirations) < 0 && errno != EAGAIN) die("timer");
        } else {
            struct conn *c = source;
            bool alive = !(events[i].events & EPOLLOUT) || resume(c);
            if (alive && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) alive = receive(c);
            if (!alive) close_conn(c);
        }
    }
    if (told_to_hang_up) hang_up();
    run_paced();
    run_ready();
}

int main(int argc, char **argv) {
    if (argc < 2) die("usage: upstream PORT [NAME=CHUNKS@PERIOD_MS ...]");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    for (int i = 2; i < argc; i++) add_profile(argv[i]);
    listen_on(atoi(argv[1]));
    signal(SIGUSR1, tell_to_hang_up);
    for (;;) turn();
}
