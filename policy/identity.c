/* SPDX-License-Identifier: BSD-3-Clause */
#include "policy/read.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ID_MAX (UINT32_MAX - 1) /* (uid_t)-1 means "leave as it is" to the kernel */
#define OVERFLOW_ID 65534

static_assert(sizeof(uid_t) == sizeof(uint32_t) && sizeof(gid_t) == sizeof(uint32_t),
              "ids are read as 32-bit numbers");

/* Users and groups differ in these only. */
struct kind {
    const char *noun;
    const char *map; /* of the user namespace */
    /* Returns 1 and the id; 0 if there is none of this name; a negative errno. */
    int (*look_up)(const char *name, uint32_t *id);
    uint32_t (*own)(void);
};

/* getpwnam(3): any of these says only that there is no such name. */
static int lookup_error(int error)
{
    switch (error) {
    case 0:
    case ENOENT:
    case ESRCH:
    case EBADF:
    case EPERM:
        return 0;
    default:
        return -error;
    }
}

static int look_up_user(const char *name, uint32_t *id)
{
    errno = 0;
    const struct passwd *entry = getpwnam(name);

    if (!entry)
        return lookup_error(errno);
    *id = entry->pw_uid;
    return 1;
}

static int look_up_group(const char *name, uint32_t *id)
{
    errno = 0;
    const struct group *entry = getgrnam(name);

    if (!entry)
        return lookup_error(errno);
    *id = entry->gr_gid;
    return 1;
}

static const struct kind users = { "user", "/proc/self/uid_map", look_up_user, getuid };
static const struct kind groups = { "group", "/proc/self/gid_map", look_up_group, getgid };

static int read_name(struct policy_report *report, const struct kind *kind,
                     struct json_object *value, uint32_t *id)
{
    static const struct policy_key name_key = { .min = 1, .max = 256 };
    int result = policy_check_text(report, &name_key, value);

    if (result < 0)
        return result;
    result = kind->look_up(json_object_get_string(value), id);
    if (result < 0)
        return policy_report_failure(report, "cannot be looked up", -result);
    if (result == 0)
        return policy_report_found(report, value, "wanted a %s that exists", kind->noun);
    return 0;
}

static int read_id(struct policy_report *report, const struct kind *kind, struct json_object *value,
                   uint32_t *id)
{
    uint64_t number;

    if (json_object_is_type(value, json_type_string))
        return read_name(report, kind, value, id);
    if (!policy_is_number(value, 0, ID_MAX, &number))
        return policy_report_found(report, value,
                                   "wanted the name of a %s, or a number from 0 to %" PRIu32,
                                   kind->noun, ID_MAX);
    *id = (uint32_t)number;
    return 0;
}

/*
 * Where a user namespace does not have every id, the kernel shows all that it lacks as 65534, so
 * that this number may be anybody. A map that cannot be read is taken for such a one.
 */
static bool everybody_is_mapped(const struct kind *kind)
{
    FILE *map = fopen(kind->map, "re");
    unsigned long inside, outside, count = 0;

    if (!map)
        return false;
    if (fscanf(map, "%lu %lu %lu", &inside, &outside, &count) != 3)
        count = 0;
    fclose(map);
    return count == UINT32_MAX;
}

/* A client's id: "self" also. */
static int read_peer(struct policy_report *report, const struct kind *kind,
                     struct json_object *value, uint32_t *id)
{
    int result = 0;

    if (json_object_is_type(value, json_type_string) &&
        strcmp(json_object_get_string(value), "self") == 0)
        *id = kind->own();
    else
        result = read_id(report, kind, value, id);
    if (result == 0 && *id == OVERFLOW_ID && !everybody_is_mapped(kind))
        return policy_report_found(report, value,
                                   "wanted no %s %d: in this user namespace it may be anybody",
                                   kind->noun, OVERFLOW_ID);
    return result;
}

static bool contains(const uint32_t *ids, size_t count, uint32_t id)
{
    for (size_t i = 0; i < count; i++) {
        if (ids[i] == id)
            return true;
    }
    return false;
}

static int read_peers(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value, const struct kind *kind, uint32_t *ids,
                      size_t *count)
{
    int result = policy_check_list(report, key, value);

    if (result < 0)
        return result;
    for (size_t i = 0; i < json_object_array_length(value) && result == 0; i++) {
        uint32_t id = UINT32_MAX; /* nobody */
        size_t mark = policy_report_enter_item(report, i);
        result = read_peer(report, kind, json_object_array_get_idx(value, i), &id);
        policy_report_leave(report, mark);
        /* "self" and "root" are one, for root. */
        if (result == 0 && !contains(ids, *count, id))
            ids[(*count)++] = id;
    }
    return result;
}

int policy_read_users(struct policy_report *report, const struct policy_key *key,
                      struct json_object *value, void *target)
{
    struct policy *policy = target;

    return read_peers(report, key, value, &users, policy->client_uids, &policy->client_uid_count);
}

int policy_read_groups(struct policy_report *report, const struct policy_key *key,
                       struct json_object *value, void *target)
{
    struct policy *policy = target;

    return read_peers(report, key, value, &groups, policy->client_gids, &policy->client_gid_count);
}

/* The group that the user logs in with; for a number without an account, the same number. */
static int find_primary_group(struct policy_report *report, uid_t uid, gid_t *gid)
{
    errno = 0;
    const struct passwd *entry = getpwuid(uid);
    int result = entry ? 0 : lookup_error(errno);

    if (result < 0)
        return policy_report_failure(report, "the user's group cannot be looked up", -result);
    *gid = entry ? entry->pw_gid : uid;
    return 0;
}

static int read_other_user(struct policy_report *report, struct json_object *value,
                           struct policy *policy)
{
    int result = read_id(report, &users, value, &policy->jail_uid);

    if (result == 0)
        result = find_primary_group(report, policy->jail_uid, &policy->jail_gid);
    if (result == 0 && (policy->jail_uid == 0 || policy->jail_gid == 0))
        return policy_report_found(report, value,
                                   "wanted a user that is neither root nor in root's group");
    return result;
}

/* An ordinary user has no right to give a process another identity. */
static int read_own_user(struct policy_report *report, struct json_object *value,
                         struct policy *policy)
{
    int result = report->by_default ? 0 : read_id(report, &users, value, &policy->jail_uid);

    if (result < 0)
        return result;
    if (!report->by_default && policy->jail_uid != geteuid())
        return policy_report_found(report, value,
                                   "wanted %u or no such key: only root can have another user",
                                   (unsigned)geteuid());
    policy->jail_uid = geteuid();
    policy->jail_gid = getegid();
    return 0;
}

int policy_read_jail_user(struct policy_report *report, const struct policy_key *key,
                          struct json_object *value, void *target)
{
    if (geteuid() == 0)
        return read_other_user(report, value, target);
    return read_own_user(report, value, target);
}
