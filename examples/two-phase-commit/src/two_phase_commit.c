// Two-phase commit: several participants, one outcome.
//
// The znodes of an object, `/commits/transfer-17` say:
//
//   (the object itself)   text: "open <of>" while votes come in, then "commit <zxid>" or
//                         "abort <zxid> <why>"; nothing before the first vote
//   yes-<ticket>          a vote that waits for the others, owned by the voter's session
//
// Comes in: votes; ends of sessions, of waits and of the time that an outcome is kept. Goes out: to
// every voter the same outcome, with the number of the transaction that decided it.
// Invariant: an outcome never changes; it is `commit` only if so many sessions as were to vote voted
// yes, all of them alive at that moment.
// Must never: decide twice, or leave a voter waiting once it is decided.

#include <stdlib.h>
#include <string.h>

#include "cbor.h"
#include "recipe.h"

// The generated names carry the whole path of the contract.
typedef exports_quorate_recipe_guest_call_t call;
typedef exports_quorate_recipe_guest_outcome_t outcome;
typedef exports_quorate_recipe_guest_failure_t failure;
typedef exports_quorate_recipe_guest_event_t event;
typedef exports_quorate_recipe_guest_operation_t operation;
typedef quorate_recipe_tree_list_named_znode_t children;

// A decision answers every waiting voter and deletes its vote: two of the 1 000 changes of a run.
#define PARTICIPANTS_MAX 400
// A day, and a thousand of them.
#define KEEP_MS_DEFAULT 86400000
#define KEEP_MS_MAX 86400000000
#define TIMER "forget"

static recipe_string_t string(const char *text) {
  return (recipe_string_t){.ptr = (uint8_t *)text, .len = strlen(text)};
}

static bool string_is(recipe_string_t text, const char *wanted) {
  return slice_is((slice){.at = (const char *)text.ptr, .length = text.len}, wanted);
}

static recipe_string_t string_of(writer text) {
  return (recipe_string_t){.ptr = text.bytes, .len = text.length};
}

static recipe_list_u8_t bytes_of(writer bytes) {
  return (recipe_list_u8_t){.ptr = bytes.bytes, .len = bytes.length};
}

// A refusal: nothing of this run stays.
static bool refuse(failure *why, const char *code, const char *message) {
  *why = (failure){.code = string(code), .message = string(message)};
  return false;
}

// The tree refuses only what this recipe never asks for.
static void must(bool worked) {
  if (worked) return;
  recipe_string_t message = string("the tree is not as this recipe leaves it");
  quorate_recipe_log_write(QUORATE_RECIPE_LOG_LEVEL_ERROR, &message);
  __builtin_trap();
}

// --- What a vote is part of -----------------------------------------------------------------------

typedef enum { OPEN, COMMIT, ABORT } state_kind;
static const char *const STATE_WORDS[] = {"open", "commit", "abort"};

typedef struct {
  state_kind kind;
  // OPEN: how many are to vote, 0 before the first vote. Else the transaction that decided.
  uint64_t number;
  slice why;
} state;

// The inverse of `save_state`.
static state parse_state(recipe_list_u8_t data) {
  state found = {.kind = OPEN, .number = 0, .why = {.at = "", .length = 0}};
  const char *at = (const char *)data.ptr, *end = at + data.len;
  for (int kind = OPEN; kind <= ABORT; kind++) {
    size_t length = strlen(STATE_WORDS[kind]);
    if (data.len > length && memcmp(at, STATE_WORDS[kind], length) == 0) {
      found.kind = (state_kind)kind;
      at += length + 1;
      break;
    }
  }
  while (at < end && *at >= '0' && *at <= '9') found.number = found.number * 10 + (uint64_t)(*at++ - '0');
  if (at < end) found.why = (slice){.at = at + 1, .length = (size_t)(end - at - 1)};
  return found;
}

static state load_state(recipe_string_t object) {
  quorate_recipe_tree_znode_t znode;
  if (!quorate_recipe_tree_get(&object, &znode)) return parse_state((recipe_list_u8_t){0});
  return parse_state(znode.data);
}

static void save_state(recipe_string_t object, state now) {
  writer text = {0};
  put_plain(&text, STATE_WORDS[now.kind]);
  put_plain(&text, " ");
  put_digits(&text, now.number, 1);
  if (now.why.length > 0) {
    put_plain(&text, " ");
    put_bytes(&text, now.why.at, now.why.length);
  }
  recipe_list_u8_t data = bytes_of(text);
  int32_t version;
  quorate_recipe_tree_tree_error_t error;
  must(quorate_recipe_tree_set(&object, &data, NULL, &version, &error));
}

// The path of a child: an object may be the mount itself, whose path is empty.
static recipe_string_t below(recipe_string_t object, recipe_string_t name) {
  writer path = {0};
  put_bytes(&path, object.ptr, object.len);
  if (object.len > 0) put_plain(&path, "/");
  put_bytes(&path, name.ptr, name.len);
  return string_of(path);
}

// Twenty digits hold every ticket, so that names sort by arrival.
static recipe_string_t vote_name(uint64_t ticket) {
  writer name = {0};
  put_plain(&name, "yes-");
  put_digits(&name, ticket, 20);
  return string_of(name);
}

static uint64_t ticket_of(recipe_string_t vote_name) {
  uint64_t ticket = 0;
  for (size_t i = strlen("yes-"); i < vote_name.len; i++) ticket = ticket * 10 + (uint64_t)(vote_name.ptr[i] - '0');
  return ticket;
}

static children waiting_votes(recipe_string_t object) {
  children votes = {0};
  quorate_recipe_tree_tree_error_t error;
  // Before its first vote the object is not there: nobody waits.
  if (!quorate_recipe_tree_scan(&object, NULL, PARTICIPANTS_MAX, &votes, &error)) votes.len = 0;
  return votes;
}

static bool waits(const children *votes, uint64_t session) {
  for (size_t i = 0; i < votes->len; i++) {
    quorate_recipe_types_option_session_id_t owner = votes->ptr[i].stat.owner;
    if (owner.is_some && owner.val == session) return true;
  }
  return false;
}

static recipe_list_u8_t decision_reply(state decided) {
  writer reply = {0};
  write_map(&reply, 3);
  write_word(&reply, "outcome");
  write_word(&reply, STATE_WORDS[decided.kind]);
  write_word(&reply, "decided");
  write_unsigned(&reply, decided.number);
  write_word(&reply, "why");
  write_text(&reply, decided.why.at, decided.why.length);
  return bytes_of(reply);
}

// How long an outcome is kept: the mount's configuration.
static bool read_keep_ms(uint64_t *keep_ms) {
  recipe_list_u8_t config;
  quorate_recipe_mount_config(&config);
  reader from = read_from(config.ptr, config.len);
  *keep_ms = KEEP_MS_DEFAULT;
  for (uint64_t entries = read_map(&from); entries > 0 && !from.bad; entries--) {
    if (!slice_is(read_text(&from), "keep_ms")) return false;
    *keep_ms = read_unsigned(&from);
  }
  return read_well(&from) && *keep_ms <= KEEP_MS_MAX;
}

// Fixes the outcome and tells everybody who waits.
static state decide(recipe_string_t object, state_kind kind, const char *why) {
  state decided = {.kind = kind, .number = quorate_recipe_clock_zxid()};
  decided.why = (slice){.at = why, .length = strlen(why)};
  save_state(object, decided);
  children votes = waiting_votes(object);
  for (size_t i = 0; i < votes.len; i++) {
    quorate_recipe_tickets_result_list_u8_failure_t reply = {.is_err = false};
    reply.val.ok = decision_reply(decided);
    // A voter that has gone reads the outcome when it is back.
    quorate_recipe_tickets_complete(ticket_of(votes.ptr[i].name), &reply);
    recipe_string_t path = below(object, votes.ptr[i].name);
    quorate_recipe_tree_tree_error_t error;
    must(quorate_recipe_tree_delete(&path, NULL, &error));
  }
  uint64_t keep_ms;
  if (!read_keep_ms(&keep_ms)) keep_ms = KEEP_MS_DEFAULT;
  recipe_string_t timer = string(TIMER);
  quorate_recipe_timers_set(&timer, quorate_recipe_clock_now() + keep_ms);
  return decided;
}

// --- Operations -----------------------------------------------------------------------------------

typedef struct {
  uint64_t of;
  bool yes;
  bool has_wait;
  uint64_t wait_ms;
} ballot;

static bool read_ballot(recipe_list_u8_t arguments, ballot *given, failure *why) {
  reader from = read_from(arguments.ptr, arguments.len);
  bool has_of = false, has_yes = false;
  *given = (ballot){0};
  for (uint64_t entries = read_map(&from); entries > 0 && !from.bad; entries--) {
    slice field = read_text(&from);
    if (slice_is(field, "of")) {
      given->of = read_unsigned(&from);
      has_of = true;
    } else if (slice_is(field, "yes")) {
      given->yes = read_bool(&from);
      has_yes = true;
    } else if (slice_is(field, "wait_ms")) {
      given->has_wait = !read_null(&from);
      if (given->has_wait) given->wait_ms = read_unsigned(&from);
    } else if (!from.bad) {
      return refuse(why, "bad-arguments", "unknown field: there are `of`, `yes` and `wait_ms`");
    }
  }
  if (!read_well(&from)) {
    return refuse(why, "bad-arguments", "not a map of `of`: number, `yes`: true or false, `wait_ms`: number or null");
  }
  if (!has_of) return refuse(why, "bad-arguments", "missing field `of`");
  if (!has_yes) return refuse(why, "bad-arguments", "missing field `yes`");
  if (given->of == 0 || given->of > PARTICIPANTS_MAX) {
    return refuse(why, "out-of-range", "`of` is a number from 1 to 400");
  }
  return true;
}

static bool answer(outcome *end, state decided) {
  end->tag = EXPORTS_QUORATE_RECIPE_GUEST_OUTCOME_DONE;
  end->val.done = decision_reply(decided);
  return true;
}

static bool vote(call *made, outcome *end, failure *why) {
  ballot given;
  if (!read_ballot(made->arguments, &given, why)) return false;
  state now = load_state(made->object);
  if (now.kind != OPEN) return answer(end, now);
  if (now.number != 0 && now.number != given.of) {
    return refuse(why, "other-count", "the votes before this one were of another number of participants");
  }
  children votes = waiting_votes(made->object);
  if (waits(&votes, made->caller.session)) {
    return refuse(why, "already-voted", "this session has voted and waits for the others");
  }
  if (!given.yes) return answer(end, decide(made->object, ABORT, "a participant voted no"));
  if (votes.len + 1 == given.of) return answer(end, decide(made->object, COMMIT, ""));
  if (now.number == 0) save_state(made->object, (state){.kind = OPEN, .number = given.of});
  uint64_t deadline = quorate_recipe_clock_now() + given.wait_ms;
  // One that would wait beyond all time waits for ever.
  bool has_deadline = given.has_wait && deadline >= given.wait_ms;
  uint64_t ticket = quorate_recipe_tickets_park(has_deadline ? &deadline : NULL);
  recipe_string_t path = below(made->object, vote_name(ticket));
  recipe_list_u8_t nothing = {0};
  quorate_recipe_tree_tree_error_t error;
  must(quorate_recipe_tree_create(&path, &nothing, &made->caller.session, &error));
  end->tag = EXPORTS_QUORATE_RECIPE_GUEST_OUTCOME_PARKED;
  end->val.parked = ticket;
  return true;
}

static bool read_outcome(call *made, outcome *end) {
  state now = load_state(made->object);
  bool is_open = now.kind == OPEN;
  writer reply = {0};
  write_map(&reply, 5);
  write_word(&reply, "outcome");
  write_word(&reply, STATE_WORDS[now.kind]);
  write_word(&reply, "decided");
  write_unsigned(&reply, is_open ? 0 : now.number);
  write_word(&reply, "why");
  write_text(&reply, now.why.at, now.why.length);
  write_word(&reply, "of");
  write_unsigned(&reply, is_open ? now.number : 0);
  write_word(&reply, "yes");
  write_unsigned(&reply, is_open ? waiting_votes(made->object).len : 0);
  end->tag = EXPORTS_QUORATE_RECIPE_GUEST_OUTCOME_DONE;
  end->val.done = bytes_of(reply);
  return true;
}

// An object that holds nothing goes by itself.
static void clear(recipe_string_t object) {
  recipe_list_u8_t nothing = {0};
  int32_t version;
  quorate_recipe_tree_tree_error_t error;
  must(quorate_recipe_tree_set(&object, &nothing, NULL, &version, &error));
}

static bool forget(call *made, outcome *end, failure *why) {
  state now = load_state(made->object);
  if (now.kind == OPEN && now.number != 0) {
    return refuse(why, "undecided", "votes are still coming in: vote no to end it");
  }
  clear(made->object);
  recipe_string_t timer = string(TIMER);
  quorate_recipe_timers_cancel(&timer);
  end->tag = EXPORTS_QUORATE_RECIPE_GUEST_OUTCOME_DONE;
  end->val.done = (recipe_list_u8_t){0};
  return true;
}

// --- What the contract asks for -------------------------------------------------------------------

#define OUTCOME_FIELDS(WORDS)                                                                              \
  "\"outcome\":{\"oneOf\":[" WORDS "]},"                                                                   \
  "\"decided\":{\"description\":\"The transaction that decided; 0 while open.\",\"type\":\"integer\",\"minimum\":0}," \
  "\"why\":{\"description\":\"Why it was aborted.\",\"type\":\"string\"}"

static operation OPERATIONS[3];

static void describe_operations(void) {
  OPERATIONS[0] = (operation){
      .name = string("vote"),
      .kind = EXPORTS_QUORATE_RECIPE_GUEST_OPERATION_KIND_COMMAND,
      .doc = string("Votes, and waits until all have voted or it is decided otherwise.\n\n"
                    "One no, the end of a voter's session, or a voter that waits no longer aborts for all."),
      .arguments_schema = string(
          "{\"type\":\"object\",\"properties\":{"
          "\"of\":{\"description\":\"How many participants there are, this one included; the same in every vote.\","
          "\"type\":\"integer\",\"minimum\":1,\"maximum\":400},"
          "\"yes\":{\"description\":\"Whether this participant can commit.\",\"type\":\"boolean\"},"
          "\"wait_ms\":{\"description\":\"How long to wait for the others, in milliseconds; none: for ever.\","
          "\"anyOf\":[{\"type\":\"integer\",\"minimum\":0},{\"type\":\"null\"}]}"
          "},\"required\":[\"of\",\"yes\"],\"additionalProperties\":false}"),
      .reply_schema = string("{\"type\":\"object\",\"properties\":{" OUTCOME_FIELDS(
          "{\"const\":\"commit\"},{\"const\":\"abort\"}") "},\"required\":[\"outcome\",\"decided\",\"why\"]}"),
  };
  OPERATIONS[1] = (operation){
      .name = string("outcome"),
      .kind = EXPORTS_QUORATE_RECIPE_GUEST_OPERATION_KIND_QUERY,
      .doc = string("How it stands, also for a participant that was away when it was decided."),
      .arguments_schema = string("{\"type\":\"null\"}"),
      .reply_schema = string(
          "{\"type\":\"object\",\"properties\":{" OUTCOME_FIELDS(
              "{\"const\":\"open\"},{\"const\":\"commit\"},{\"const\":\"abort\"}") ","
          "\"of\":{\"description\":\"How many are to vote, while open.\",\"type\":\"integer\",\"minimum\":0},"
          "\"yes\":{\"description\":\"How many wait having voted yes.\",\"type\":\"integer\",\"minimum\":0}"
          "},\"required\":[\"outcome\",\"decided\",\"why\",\"of\",\"yes\"]}"),
  };
  OPERATIONS[2] = (operation){
      .name = string("forget"),
      .kind = EXPORTS_QUORATE_RECIPE_GUEST_OPERATION_KIND_COMMAND,
      .doc = string("Forgets an outcome before its time, so that the name can be used again."),
      .arguments_schema = string("{\"type\":\"null\"}"),
      .reply_schema = string("{\"type\":\"null\"}"),
  };
}

void exports_quorate_recipe_guest_describe(exports_quorate_recipe_guest_descriptor_t *ret) {
  describe_operations();
  *ret = (exports_quorate_recipe_guest_descriptor_t){
      .name = string("two-phase-commit"),
      .version = string("1.0.0"),
      .state_version = 1,
      .operations = {.ptr = OPERATIONS, .len = sizeof OPERATIONS / sizeof *OPERATIONS},
      .config_schema = string(
          "{\"type\":\"object\",\"properties\":{"
          "\"keep_ms\":{\"description\":\"How long an outcome is kept, in milliseconds; a day if not said.\","
          "\"type\":\"integer\",\"minimum\":0,\"maximum\":86400000000}},\"additionalProperties\":false}"),
      .doc = string("All of several participants commit, or none does."),
      .fuel_wanted = {.is_some = false},
  };
}

bool exports_quorate_recipe_guest_invoke(call *made, outcome *ret, failure *err) {
  if (string_is(made->operation, "vote")) return vote(made, ret, err);
  if (string_is(made->operation, "outcome")) return read_outcome(made, ret);
  if (string_is(made->operation, "forget")) return forget(made, ret, err);
  return refuse(err, "unknown-operation", "there are vote, outcome and forget");
}

// A wait that ended without an answer: its caller has been told, and its vote does not count.
static void wait_ended(recipe_string_t object, uint64_t ticket) {
  recipe_string_t path = below(object, vote_name(ticket));
  quorate_recipe_tree_tree_error_t error;
  if (!quorate_recipe_tree_delete(&path, NULL, &error)) return;
  if (load_state(object).kind == OPEN) decide(object, ABORT, "a participant waited no longer");
}

bool exports_quorate_recipe_guest_on_event(recipe_string_t *object, event *happened, failure *err) {
  switch (happened->tag) {
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_MOUNTED:
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_CONFIG_CHANGED: {
      uint64_t keep_ms;
      if (read_keep_ms(&keep_ms)) return true;
      return refuse(err, "bad-config", "the configuration is a map of `keep_ms`: a number up to 86400000000");
    }
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_SESSION_CLOSED: {
      children votes = waiting_votes(*object);
      if (waits(&votes, happened->val.session_closed)) decide(*object, ABORT, "a participant's session ended");
      return true;
    }
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_TICKET_EXPIRED:
      wait_ended(*object, happened->val.ticket_expired.ticket);
      return true;
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_TICKET_CANCELLED:
      wait_ended(*object, happened->val.ticket_cancelled.ticket);
      return true;
    case EXPORTS_QUORATE_RECIPE_GUEST_EVENT_TIMER:
      // Votes that came in after a `forget` are not touched: it cancelled the timer.
      clear(*object);
      return true;
    default:
      return true;
  }
}

bool exports_quorate_recipe_guest_migrate(uint32_t from_state_version, failure *err) {
  (void)from_state_version;
  return refuse(err, "no-migration", "there is only one layout of the state so far");
}
