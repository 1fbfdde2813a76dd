/*
 * What ZooKeeper's C client can ask for, on the servers it is given.
 *
 * Comes in: the servers' addresses, one word; answers, on the standard input. Goes out: a line for each
 * promise that was kept, or one that says which was violated; lines that ask for a server to be killed or
 * started. Invariant: it ends with status 0 only after every promise was kept. Must never wait for anything
 * without a deadline.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <zookeeper/zookeeper.h>

enum { SESSION_TIMEOUT_MS = 10000, PATIENCE_MS = 60000, PAUSE_MS = 10, WORDS_MAX = 512, SERVERS = 3, WRITES = 200 };

static const char *trial;
static const char *all_servers;
static char server[SERVERS][WORDS_MAX];

static void ensure(int holds, const char *format, ...)
{
    if (holds)
        return;
    va_list words;
    va_start(words, format);
    printf("violated %s: not so: ", trial);
    vprintf(format, words);
    printf("\n");
    fflush(stdout);
    exit(1);
}

static void expect(int got, int wanted, const char *what)
{
    ensure(got == wanted, "%s gives %s, not %s", what, zerror(wanted), zerror(got));
}

static void kept(const char *figures)
{
    printf("kept %s: %s\n", trial, figures);
    fflush(stdout);
}

/* Has a server killed or started. */
static void ask(const char *verb, const char *address)
{
    char answer[WORDS_MAX];
    printf("%s %s\n", verb, address);
    fflush(stdout);
    ensure(fgets(answer, sizeof answer, stdin) != NULL, "there is an answer to %s", verb);
}

static void pause_shortly(void)
{
    struct timespec pause = {0, PAUSE_MS * 1000000L};
    nanosleep(&pause, NULL);
}

/* Asks until it is so. */
#define EVENTUALLY(question, what)                                                                            \
    do {                                                                                                      \
        for (int waited_ms = 0; !(question); waited_ms += PAUSE_MS) {                                         \
            ensure(waited_ms < PATIENCE_MS, "%s", what);                                                      \
            pause_shortly();                                                                                  \
        }                                                                                                     \
    } while (0)

/* What a watcher was told, one event after another: its type and its path. */
struct told {
    pthread_mutex_t lock;
    char text[WORDS_MAX * 4];
    int count;
};

static void note(zhandle_t *client, int type, int state, const char *path, void *context)
{
    struct told *told = context;
    (void)client;
    (void)state;
    if (type == ZOO_SESSION_EVENT)
        return;
    const char *name = type == ZOO_CREATED_EVENT ? "created"
        : type == ZOO_DELETED_EVENT ? "deleted"
        : type == ZOO_CHANGED_EVENT ? "changed"
        : type == ZOO_CHILD_EVENT ? "child" : "other";
    pthread_mutex_lock(&told->lock);
    size_t length = strlen(told->text);
    snprintf(told->text + length, sizeof told->text - length, "%s %s;", name, path);
    told->count++;
    pthread_mutex_unlock(&told->lock);
}

static int count_of(struct told *told)
{
    pthread_mutex_lock(&told->lock);
    int count = told->count;
    pthread_mutex_unlock(&told->lock);
    return count;
}

static void has_told(struct told *told, const char *event)
{
    pthread_mutex_lock(&told->lock);
    char *found = strstr(told->text, event);
    ensure(found != NULL, "%s is told in %s", event, told->text);
    ensure(strstr(found + 1, event) == NULL, "%s is told once in %s", event, told->text);
    pthread_mutex_unlock(&told->lock);
}

static zhandle_t *open_session(const char *addresses, const clientid_t *session)
{
    zhandle_t *client = zookeeper_init(addresses, NULL, SESSION_TIMEOUT_MS, session, NULL, 0);
    ensure(client != NULL, "a client can be made");
    return client;
}

static zhandle_t *connect_to(const char *addresses)
{
    zhandle_t *client = open_session(addresses, NULL);
    EVENTUALLY(zoo_state(client) == ZOO_CONNECTED_STATE, "a client connects");
    return client;
}

static void create(zhandle_t *client, const char *path, const char *data)
{
    expect(zoo_create(client, path, data, (int)strlen(data), &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0), ZOK, path);
}

/* Of the one sync or proof under way: 0 while it is not answered. */
static volatile int answered;

static void note_answer(int code)
{
    answered = code == ZOK ? 1 : -1;
}

static void note_sync(int code, const char *path, const void *context)
{
    (void)path;
    (void)context;
    note_answer(code);
}

static void note_proof(int code, const void *context)
{
    (void)context;
    note_answer(code);
}

/* What was written before is at this client's server. */
static void sync_all(zhandle_t *client)
{
    answered = 0;
    expect(zoo_async(client, "/", note_sync, NULL), ZOK, "sync");
    EVENTUALLY(answered != 0, "a sync is answered");
    ensure(answered == 1, "a sync is done");
}

static void sessions(void)
{
    trial = "connect, sessions";
    zhandle_t *client = connect_to(server[0]);
    ensure(zoo_client_id(client)->client_id != 0, "a session has a number");
    ensure(zoo_recv_timeout(client) == SESSION_TIMEOUT_MS, "its timeout is granted, not %d", zoo_recv_timeout(client));
    clientid_t gone = *zoo_client_id(client);
    expect(zookeeper_close(client), ZOK, "close");
    zhandle_t *late = open_session(server[1], &gone);
    EVENTUALLY(zoo_state(late) == ZOO_EXPIRED_SESSION_STATE, "a closed session is over");
    zookeeper_close(late);
    zhandle_t *first = connect_to(server[1]);
    zhandle_t *second = connect_to(server[2]);
    ensure(zoo_client_id(first)->client_id != zoo_client_id(second)->client_id, "each has its own");
    zookeeper_close(first);
    zookeeper_close(second);
    kept("opened, closed, and over");
}

static void requests(zhandle_t *client)
{
    trial = "create, get, set, delete";
    char path[WORDS_MAX], data[WORDS_MAX];
    int length = sizeof data;
    struct Stat stat;
    create(client, "/c", "one");
    expect(zoo_create(client, "/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0), ZNODEEXISTS, "a second create");
    expect(zoo_create(client, "/none/c", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0), ZNONODE, "no parent");
    expect(zoo_create2(client, "/c/s", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, path, sizeof path, &stat), ZOK, "create2");
    ensure(strcmp(path, "/c/s0000000000") == 0, "it has a number, not %s", path);
    ensure(stat.ephemeralOwner == zoo_client_id(client)->client_id, "it is its maker's");
    expect(zoo_create2_ttl(client, "/c/t", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 60000, NULL, 0, &stat), ZOK, "TTL");
    expect(zoo_create(client, "/c/container", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_CONTAINER, NULL, 0), ZOK, "container");
    expect(zoo_get(client, "/c", 0, data, &length, &stat), ZOK, "get");
    ensure(length == 3 && memcmp(data, "one", 3) == 0 && stat.numChildren == 3, "data and stat are told");
    expect(zoo_set2(client, "/c", "two", 3, 0, &stat), ZOK, "set");
    expect(zoo_set(client, "/c", "three", 5, 0), ZBADVERSION, "set of an old version");
    ensure(stat.version == 1, "the version grows");
    struct String_vector names;
    expect(zoo_get_children2(client, "/c", 0, &names, &stat), ZOK, "children");
    ensure(names.count == 3 && stat.version == 1, "children and stat are told");
    deallocate_String_vector(&names);
    expect(zoo_delete(client, "/c", -1), ZNOTEMPTY, "delete of a parent");
    expect(zoo_delete(client, "/c/t", 0), ZOK, "delete");
    expect(zoo_exists(client, "/c/t", 0, &stat), ZNONODE, "exists");
    kept("each answered, or refused for its reason");
}

static void multis(zhandle_t *client)
{
    trial = "multi";
    zoo_op_t operations[4];
    zoo_op_result_t results[4];
    char path[WORDS_MAX];
    struct Stat stat;
    zoo_create_op_init(&operations[0], "/m", "one", 3, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, path, sizeof path);
    zoo_create_op_init(&operations[1], "/m/below", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0);
    zoo_set_op_init(&operations[2], "/m", "two", 3, 0, &stat);
    zoo_delete_op_init(&operations[3], "/m/below", -1);
    expect(zoo_multi(client, 4, operations, results), ZOK, "a multi");
    ensure(strcmp(path, "/m") == 0 && stat.version == 1, "each is told what came of it");
    zoo_check_op_init(&operations[0], "/m", 1);
    zoo_delete_op_init(&operations[1], "/m/absent", -1);
    zoo_delete_op_init(&operations[2], "/m", -1);
    expect(zoo_multi(client, 3, operations, results), ZNONODE, "a multi that cannot be done");
    expect(results[0].err, ZOK, "the one before");
    expect(results[1].err, ZNONODE, "the one that cannot be done");
    expect(results[2].err, ZRUNTIMEINCONSISTENCY, "the one after");
    expect(zoo_exists(client, "/m", 0, NULL), ZOK, "nothing of it");
    kept("four or none");
}

static void identities(zhandle_t *client)
{
    trial = "digest and ACL";
    zhandle_t *owner = connect_to(server[1]);
    answered = 0;
    expect(zoo_add_auth(owner, "digest", "user:password", 13, note_proof, NULL), ZOK, "a proof");
    EVENTUALLY(answered != 0, "a proof is answered");
    ensure(answered == 1, "a proof is taken");
    struct ACL_vector acl;
    struct Stat stat;
    char data[WORDS_MAX];
    int length = sizeof data;
    expect(zoo_create(owner, "/owned", "one", 3, &ZOO_CREATOR_ALL_ACL, ZOO_PERSISTENT, NULL, 0), ZOK, "create");
    sync_all(client);
    expect(zoo_get(client, "/owned", 0, data, &length, &stat), ZNOAUTH, "a stranger's get");
    expect(zoo_get_acl(owner, "/owned", &acl, &stat), ZOK, "its ACL");
    ensure(acl.count == 1 && strcmp(acl.data[0].id.scheme, "digest") == 0, "it is its maker's");
    ensure(strncmp(acl.data[0].id.id, "user:", 5) == 0, "by name, not %s", acl.data[0].id.id);
    deallocate_ACL_vector(&acl);
    expect(zoo_set_acl(owner, "/owned", 0, &ZOO_READ_ACL_UNSAFE), ZOK, "a new ACL");
    sync_all(client);
    length = sizeof data;
    expect(zoo_get(client, "/owned", 0, data, &length, &stat), ZOK, "everybody's get");
    expect(zoo_set(client, "/owned", "", 0, -1), ZNOAUTH, "a stranger's set");
    zookeeper_close(owner);
    kept("a password opens what an ACL says");
}

static void watches(zhandle_t *client)
{
    trial = "watches";
    static struct told told = {PTHREAD_MUTEX_INITIALIZER, "", 0};
    zhandle_t *other = connect_to(server[2]);
    struct String_vector names;
    struct Stat stat;
    char data[WORDS_MAX];
    int length = sizeof data;
    create(client, "/w", "");
    sync_all(other);
    expect(zoo_wexists(client, "/w/a", note, &told, &stat), ZNONODE, "exists");
    expect(zoo_wget_children(client, "/w", note, &told, &names), ZOK, "children");
    deallocate_String_vector(&names);
    create(other, "/w/a", "one");
    EVENTUALLY(count_of(&told) == 2, "a creation is told to both");
    has_told(&told, "created /w/a;");
    has_told(&told, "child /w;");
    expect(zoo_wget(client, "/w/a", note, &told, data, &length, &stat), ZOK, "get");
    expect(zoo_set(other, "/w/a", "two", 3, -1), ZOK, "set");
    EVENTUALLY(count_of(&told) == 3, "a change is told");
    has_told(&told, "changed /w/a;");
    length = sizeof data;
    expect(zoo_wget(client, "/w/a", note, &told, data, &length, &stat), ZOK, "get");
    expect(zoo_remove_watches(client, "/w/a", ZWATCHTYPE_DATA, note, &told, 0), ZOK, "a watch's removal");
    expect(zoo_remove_watches(client, "/w/a", ZWATCHTYPE_DATA, note, &told, 0), ZNOWATCHER, "a second removal");
    expect(zoo_wexists(client, "/w/b", note, &told, &stat), ZNONODE, "exists");
    expect(zoo_delete(other, "/w/a", -1), ZOK, "delete");
    create(other, "/w/b", "");
    EVENTUALLY(strstr(told.text, "created /w/b;") != NULL, "a watch that was left tells");
    ensure(strstr(told.text, "deleted /w/a;") == NULL, "one that was removed does not");
    zookeeper_close(other);
    kept("each change once, until removed");
}

static struct {
    volatile int done;
    volatile int wrong;
} writes;

static void written(int code, const struct Stat *stat, const void *number)
{
    /* Answers come in the order of the requests. */
    if (code != ZOK || stat->version != (int)(size_t)number + 1 || writes.done != (int)(size_t)number)
        writes.wrong++;
    writes.done++;
}

static void background(zhandle_t *client)
{
    trial = "requests without waiting";
    create(client, "/b", "");
    for (size_t number = 0; number < WRITES; number++)
        expect(zoo_aset(client, "/b", "data", 4, (int)number, written, (const void *)number), ZOK, "set");
    EVENTUALLY(writes.done == WRITES, "every answer comes");
    ensure(writes.wrong == 0, "all are done in order, but %d", writes.wrong);
    kept("each answered in the order of the requests");
}

static void survived(zhandle_t *other)
{
    trial = "its server killed";
    static struct told told = {PTHREAD_MUTEX_INITIALIZER, "", 0};
    zhandle_t *client = connect_to(all_servers);
    struct Stat stat;
    struct String_vector names;
    char data[WORDS_MAX], killed[WORDS_MAX];
    int length = sizeof data;
    int64_t session = zoo_client_id(client)->client_id;
    create(client, "/k", "");
    create(client, "/k/changed", "");
    create(client, "/k/later", "");
    expect(zoo_create(client, "/k/own", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL, NULL, 0), ZOK, "an ephemeral");
    expect(zoo_wget(client, "/k/changed", note, &told, data, &length, &stat), ZOK, "get");
    length = sizeof data;
    expect(zoo_wget(client, "/k/later", note, &told, data, &length, &stat), ZOK, "get");
    expect(zoo_wexists(client, "/k/made", note, &told, &stat), ZNONODE, "exists");
    expect(zoo_wget_children(client, "/k", note, &told, &names), ZOK, "children");
    deallocate_String_vector(&names);
    snprintf(killed, sizeof killed, "%s", zoo_get_current_server(client));
    ask("kill", killed);
    EVENTUALLY(zoo_set(other, "/k/changed", "new", 3, -1) == ZOK, "others go on");
    EVENTUALLY(zoo_create(other, "/k/made", "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT, NULL, 0) != ZCONNECTIONLOSS, "others go on");
    EVENTUALLY(count_of(&told) == 3, "what was missed is told");
    has_told(&told, "changed /k/changed;");
    has_told(&told, "created /k/made;");
    has_told(&told, "child /k;");
    EVENTUALLY(zoo_exists(client, "/k/own", 0, &stat) == ZOK, "it goes on elsewhere");
    ensure(stat.ephemeralOwner == session && zoo_client_id(client)->client_id == session, "in its session");
    ensure(strcmp(zoo_get_current_server(client), killed) != 0, "with another server");
    EVENTUALLY(zoo_set(other, "/k/later", "new", 3, -1) == ZOK, "others go on");
    EVENTUALLY(count_of(&told) == 4, "what comes later is told");
    has_told(&told, "changed /k/later;");
    ask("start", killed);
    zookeeper_close(client);
    EVENTUALLY(zoo_exists(other, "/k/own", 0, &stat) == ZNONODE, "its ephemeral goes with it");
    kept("its session, its ephemeral and its watches go on");
}

int main(int count, char **words)
{
    trial = "its words";
    ensure(count == 2, "they are the addresses");
    all_servers = words[1];
    ensure(sscanf(words[1], "%511[^,],%511[^,],%511s", server[0], server[1], server[2]) == SERVERS, "three");
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    zhandle_t *client = connect_to(server[0]);
    sessions();
    requests(client);
    multis(client);
    identities(client);
    watches(client);
    background(client);
    zookeeper_close(client);
    zhandle_t *other = connect_to(all_servers);
    survived(other);
    zookeeper_close(other);
    return 0;
}
