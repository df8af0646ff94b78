/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The supervisor's duties, all in one thread and one poll loop:
 *
 *  - one session is always sealed, verified and waiting: the reserve. The socket is bound when the
 *    first one is.
 *  - the reserve's gate accepts every client. While another client is being served, and is still
 *    there, it is told to refuse; otherwise its session serves, and a new reserve is started.
 *  - a session whose process hangs is killed and, should that not help, written off: it keeps a
 *    slot until it is gone, but nobody waits for it.
 *
 * It never holds a descriptor that came from a client, and reads no byte of one.
 */
#include "broker/supervisor.h"

#include "broker/cgroup.h"
#include "broker/isolate.h"
#include "broker/listener.h"
#include "broker/log.h"
#include "broker/session.h"
#include "ipc/fd.h"

#include <cap-ng.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* The one that serves, the reserve, and those that are ending or hang. */
#define MAX_SESSIONS 32
/* How long a gate may take to say whether its client is still there. */
#define PROBE_MS 500
/* How long to wait for all processes at the end. */
#define STOP_MS 3000
/* A uid that the kernel shows in place of one that our user namespace does not know. */
#define OVERFLOW_ID 65534u

struct supervisor {
    const struct options *options;
    const struct jail_plan *plan;
    const struct filter *gate_filter;
    struct listener listeners[CONTROL_MAX_CHANNELS]; /* plan->sockets of them are used */
    struct pollfd *fds;                              /* room for all; owned */
    struct own_file pid_file;
    int signals;
    bool ids_are_exact; /* we live in the first user namespace */
    struct session *sessions[MAX_SESSIONS];
    unsigned next_id;
    struct log_limit refusals; /* lines about clients that are turned away */
    int64_t crashes[1001];     /* times of the last ones; policy: at most 1000 */
    unsigned crash_count;
    bool ready; /* has been, once */
    bool full;  /* all sessions hang */
    bool finished;
    enum exit_status status;
};

static void finish(struct supervisor *s, enum exit_status status)
{
    if (!s->finished) {
        s->finished = true;
        s->status = status;
    }
}

/* --- privileges ---------------------------------------------------------------------------- */

/*
 * What root's supervisor keeps: to write id maps, to start gates (which give up the rest) and to
 * kill them, for their uid is not its own; and until the socket is bound, what that may take.
 * Without user namespaces the others take CAP_SYS_ADMIN to make, and CAP_SYS_PTRACE to look into.
 */
static int keep_capabilities(const struct jail_plan *plan, bool binding)
{
    if (geteuid() != 0) {
        return isolate_drop_capabilities();
    }
    capng_clear(CAPNG_SELECT_CAPS);
    capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SETUID, CAP_SETGID, CAP_KILL,
                  CAP_SETPCAP, -1);
    if (binding) {
        capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_CHOWN, CAP_DAC_OVERRIDE,
                      CAP_FOWNER, -1);
    }
    if (!plan->layers.user_namespaces) {
        capng_updatev(CAPNG_ADD, CAPNG_EFFECTIVE | CAPNG_PERMITTED, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
                      -1);
    }
    return capng_apply(CAPNG_SELECT_CAPS) == 0 ? 0 : -EPERM;
}

/* --- sessions ------------------------------------------------------------------------------ */

/* The first session that is neither ending nor gone, and is wanted. */
static struct session *find(struct supervisor *s, bool (*wanted)(const struct session *session))
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] != NULL && s->sessions[i]->state < SESSION_ENDING &&
            wanted(s->sessions[i])) {
            return s->sessions[i];
        }
    }
    return NULL;
}

static bool is_reserve(const struct session *session)
{
    return !session_is_used(session);
}

static void start_reserve(struct supervisor *s)
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] == NULL) {
            s->full = false;
            s->sessions[i] = session_start(s->next_id++, s->plan, s->gate_filter);
            if (s->sessions[i] == NULL) {
                log_stop("out of memory");
                finish(s, EXIT_STATUS_FAILURE);
            }
            return;
        }
    }
    /* The next client waits until the kernel lets go of one of them. */
    if (!s->full) {
        log_error("sessions-stuck", "count=%d", MAX_SESSIONS);
    }
    s->full = true;
}

static int write_pid_file(struct supervisor *s)
{
    const char *path = s->options->pid_file;
    char text[16];

    snprintf(text, sizeof(text), "%d\n", getpid());
    if (path != NULL && own_file_write(&s->pid_file, path, text) < 0) {
        log_stop("--pid-file %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

static int open_socket(struct supervisor *s, size_t i)
{
    const struct options *o = s->options;
    struct listener *listener = &s->listeners[i];
    int fd = o->sockets[i].fd;
    char error[512];
    int result = fd < 0 ? listener_bind(listener, o->sockets[i].path, o->sock_mode, o->sock_group,
                                        error, sizeof(error))
                        : listener_inherit(listener, fd, error, sizeof(error));

    if (result < 0) {
        log_stop("%s", error);
    }
    return result;
}

static int open_sockets(struct supervisor *s)
{
    int result = 0;

    for (size_t i = 0; result == 0 && i < s->plan->sockets; i++) {
        result = open_socket(s, i);
    }
    return result;
}

static void log_ready(const struct supervisor *s)
{
    char sockets[LOG_LINE_MAX];
    size_t used = 0;

    for (size_t i = 0; i < s->plan->sockets && used < sizeof(sockets); i++) {
        used += (size_t)snprintf(sockets + used, sizeof(sockets) - used, "socket=\"%s\" ",
                                 s->options->sockets[i].path);
    }
    log_info("ready", "%spolicy=\"%s\"", sockets, s->plan->policy->file);
}

/* The first session is sealed and verified: now clients may come. */
static void become_ready(struct supervisor *s)
{
    if (s->options->check) {
        finish(s, EXIT_STATUS_OK);
        return;
    }
    if (open_sockets(s) < 0 || write_pid_file(s) < 0) {
        finish(s, EXIT_STATUS_FAILURE);
        return;
    }
    if (keep_capabilities(s->plan, false) < 0) {
        log_stop("capabilities cannot be given up");
        finish(s, EXIT_STATUS_FAILURE);
        return;
    }
    s->ready = true;
    log_ready(s);
}

/*
 * Whether a session's door is the one for its socket: of the session that has clients, while that
 * has still had none there; else of the reserve, if only to say that nobody is let in.
 */
static bool door_is_due(const struct supervisor *s, const struct session *session, size_t door)
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        const struct session *other = s->sessions[i];

        if (other != NULL && other != session && other->state == SESSION_READY &&
            session_is_used(other) && other->doors[door].state < DOOR_SERVING) {
            return false;
        }
    }
    return true;
}

static void open_doors(struct supervisor *s, struct session *session)
{
    for (size_t i = 0; i < session->door_count && session->state == SESSION_READY; i++) {
        if (session->doors[i].state == DOOR_WAITING && door_is_due(s, session, i)) {
            door_listen(&session->doors[i], s->listeners[i].fd);
        }
    }
}

static void on_ready(struct supervisor *s, struct session *session)
{
    if (!s->ready) {
        become_ready(s);
    }
    if (!s->finished) {
        open_doors(s, session);
    }
}

/* --- clients ------------------------------------------------------------------------------- */

static bool in_list(const uint32_t *list, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (list[i] == id) {
            return true;
        }
    }
    return false;
}

static bool may_connect(const struct supervisor *s, const struct control_candidate *client)
{
    const struct policy *policy = s->plan->policy;

    /* In a user namespace this id stands for everybody it does not know. */
    bool uid_known = s->ids_are_exact || client->uid != OVERFLOW_ID;
    bool gid_known = s->ids_are_exact || client->gid != OVERFLOW_ID;

    return (uid_known && in_list(policy->client_uids, policy->client_uid_count, client->uid)) ||
           (gid_known && in_list(policy->client_gids, policy->client_gid_count, client->gid));
}

/* A client has connected. One session at a time has clients, each of its doors one. */
static void judge(struct supervisor *s, struct door *door, int64_t now)
{
    struct session *other = find(s, session_serves);

    if (!may_connect(s, &door->candidate)) {
        door_refuse(door, "credentials", &s->refusals);
    } else if (other == NULL || other == door->session) {
        door_admit(door);
    } else if (other->deadline == 0 && !session_is_probed(other)) {
        if (door->asked) {
            door_refuse(door, "busy", &s->refusals);
        } else {
            door->asked = true;
            session_probe(other, now + PROBE_MS);
        }
    }
    /* Else the answer to the probe, or the end of the other session, decides. */
}

static void judge_all(struct supervisor *s, struct session *session, int64_t now)
{
    for (size_t i = 0; i < session->door_count && session->state == SESSION_READY; i++) {
        if (session->doors[i].state == DOOR_JUDGING) {
            judge(s, &session->doors[i], now);
        }
    }
}

/* --- failures ------------------------------------------------------------------------------ */

/* Forgets crashes that are too old to count. */
static void forget_crashes(struct supervisor *s, int64_t now)
{
    int64_t since = now - (int64_t)s->plan->policy->crash_within_seconds * 1000;
    unsigned kept = 0;

    for (unsigned i = 0; i < s->crash_count; i++) {
        if (s->crashes[i] > since) {
            s->crashes[kept++] = s->crashes[i];
        }
    }
    s->crash_count = kept;
}

static void count_crash(struct supervisor *s, int64_t now, bool hang)
{
    const struct policy *policy = s->plan->policy;

    if (hang || policy->on_crash == ON_CRASH_STOP) {
        log_stop("the device failed, and restart.%s is stop", hang ? "on_hang" : "on_crash");
        finish(s, EXIT_STATUS_CRASHES);
        return;
    }
    forget_crashes(s, now);
    s->crashes[s->crash_count++] = now;
    if (s->crash_count > policy->crash_max) {
        log_stop("the device failed %u times within %u seconds: more than restart.max",
                 s->crash_count, policy->crash_within_seconds);
        finish(s, EXIT_STATUS_CRASHES);
    }
}

static void on_gone(struct supervisor *s, const struct session *session, int64_t now)
{
    log_session_info("session-end", "session=%u", session->id);
    cgroup_sweep(s->plan->cgroup);
    if (session->outcome < SESSION_OUTCOME_CRASH) {
        return;
    }
    if (!s->ready) {
        log_stop("no device process could be started");
        finish(s,
               session->outcome == SESSION_OUTCOME_JAIL ? EXIT_STATUS_LAYER : EXIT_STATUS_FAILURE);
        return;
    }
    count_crash(s, now, session->outcome == SESSION_OUTCOME_HANG);
}

/* --- the loop ------------------------------------------------------------------------------ */

static void on_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;

    if (read(s->signals, &info, sizeof(info)) == sizeof(info)) {
        log_info("stopping", "signal=%u", info.ssi_signo);
        finish(s, EXIT_STATUS_OK);
    }
}

/* Milliseconds until the next deadline, the last of which is @end (0: none); -1 for none. */
static int time_left(const struct supervisor *s, int64_t now, int64_t end)
{
    int64_t left = end == 0 ? -1 : end > now ? end - now : 0;

    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        const struct session *session = s->sessions[i];
        int64_t wanted = -1;
        int64_t deadline;

        if (session == NULL) {
            continue;
        }
        deadline = session_deadline(session);
        if (deadline != 0) {
            wanted = deadline > now ? deadline - now : 0;
        } else if (session->log_open && session->log.limit.credit == 0) {
            wanted = 1000;
        }
        if (wanted >= 0 && (left < 0 || wanted < left)) {
            left = wanted;
        }
    }
    return (int)left;
}

static void wait_and_handle(struct supervisor *s, int64_t end)
{
    const size_t each = session_poll_fds(s->plan->sockets);
    struct pollfd *fds = s->fds;
    int64_t now = session_clock();

    fds[0] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        struct pollfd *own = &fds[1 + i * each];

        for (size_t j = 0; j < each; j++) {
            own[j] = (struct pollfd){ .fd = -1 };
        }
        if (s->sessions[i] != NULL) {
            session_poll(s->sessions[i], own);
        }
    }
    if (poll(fds, 1 + MAX_SESSIONS * each, time_left(s, now, end)) < 0 && errno != EINTR) {
        log_stop("poll: %s", strerror(errno));
        finish(s, EXIT_STATUS_FAILURE);
        return;
    }
    if (fds[0].revents) {
        on_signal(s);
    }
    now = session_clock();
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] != NULL) {
            session_handle(s->sessions[i], s->plan, &fds[1 + i * each], now);
        }
    }
}

static void collect_gone(struct supervisor *s, int64_t now)
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] != NULL && s->sessions[i]->state == SESSION_GONE) {
            on_gone(s, s->sessions[i], now);
            s->sessions[i] = session_free(s->sessions[i]);
        }
    }
}

static void decide(struct supervisor *s)
{
    int64_t now = session_clock();

    collect_gone(s, now);
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        struct session *session = s->sessions[i];

        if (session != NULL && session->state == SESSION_READY && !s->finished) {
            on_ready(s, session);
            judge_all(s, session, now);
        }
    }
    if (find(s, is_reserve) == NULL && !s->finished && (s->ready || s->next_id == 1)) {
        start_reserve(s);
    }
}

static bool anybody_left(const struct supervisor *s)
{
    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] != NULL) {
            return true;
        }
    }
    return false;
}

static void stop_all(struct supervisor *s)
{
    int64_t deadline = session_clock() + STOP_MS;

    for (size_t i = 0; i < MAX_SESSIONS; i++) {
        if (s->sessions[i] != NULL) {
            session_stop(s->sessions[i], SESSION_OUTCOME_STOPPED);
        }
    }
    while (anybody_left(s) && session_clock() < deadline) {
        wait_and_handle(s, deadline);
        collect_gone(s, session_clock());
    }
}

/* Sessions that hang keep descriptors, and are the doing of clients: so as many as we may have. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static int catch_signals(void)
{
    sigset_t wanted;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigprocmask(SIG_BLOCK, &wanted, NULL);
    return signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* Whether ids that the kernel tells us are what they seem: user_namespaces(7). */
static bool in_first_user_namespace(void)
{
    FILE *map = fopen("/proc/self/uid_map", "re");
    unsigned inside = 1;
    unsigned outside = 1;
    unsigned count = 0;
    bool exact = map != NULL && fscanf(map, "%u %u %u", &inside, &outside, &count) == 3 &&
                 inside == 0 && outside == 0 && count == 4294967295u;

    if (map != NULL) {
        fclose(map);
    }
    return exact;
}

static int load_filter(void)
{
    struct filter filter = { .code = NULL };
    int err = filter_compile_supervisor(&filter);

    err = err == 0 ? isolate_no_new_privs() : err;
    err = err == 0 ? isolate_load_filter(&filter) : err;
    filter_free(&filter);
    return err;
}

enum exit_status supervisor_run(const struct options *options, const struct jail_plan *plan,
                                const struct filter *gate_filter)
{
    struct supervisor s = {
        .options = options,
        .plan = plan,
        .gate_filter = gate_filter,
        .pid_file = { .directory = -1 },
        .signals = catch_signals(),
        .ids_are_exact = in_first_user_namespace(),
        .next_id = 1,
    };
    int err;

    raise_descriptor_limit();
    log_limit_init(&s.refusals);
    for (size_t i = 0; i < plan->sockets; i++) {
        s.listeners[i] = LISTENER_NONE;
    }
    s.fds = calloc(1 + MAX_SESSIONS * session_poll_fds(plan->sockets), sizeof(*s.fds));
    if (s.fds == NULL) {
        log_stop("out of memory");
        return EXIT_STATUS_FAILURE;
    }
    if (s.signals < 0 || keep_capabilities(plan, true) < 0) {
        log_stop("signals and capabilities: %s", strerror(errno));
        return EXIT_STATUS_FAILURE;
    }
    err = load_filter();
    if (err < 0) {
        log_stop("seccomp-filter: the supervisor's cannot be loaded: %s", strerror(-err));
        return EXIT_STATUS_LAYER;
    }
    while (!s.finished) {
        decide(&s);
        if (!s.finished) {
            wait_and_handle(&s, 0);
        }
    }
    stop_all(&s);
    own_file_remove(&s.pid_file);
    fd_close(&s.signals);
    for (size_t i = 0; i < plan->sockets; i++) {
        listener_remove(&s.listeners[i]);
    }
    free(s.fds);
    return s.status;
}
