/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/* The anchor: an object that holds the whole contract's BTF and no program. */
#include "config.h"
#include "maps.h"
#include "proxy.h"
#include "reasons.h"
#include "types.h"

#define ANCHOR(kind, name) kind name *anchor_##name
ANCHOR(struct, event) = 0;
ANCHOR(struct, rule_set_key) = 0;
ANCHOR(struct, rule_set_entry) = 0;
ANCHOR(enum, direction) = 0;
ANCHOR(enum, verdict) = 0;
ANCHOR(enum, mark) = 0;
ANCHOR(enum, lead) = 0;
ANCHOR(enum, redirect) = 0;
ANCHOR(struct, listener_key) = 0;
ANCHOR(struct, proxy_key) = 0;
ANCHOR(struct, proxy_entry) = 0;
ANCHOR(enum, reserved_identity) = 0;
ANCHOR(enum, endpoint_flag) = 0;
ANCHOR(enum, endpoint_slot) = 0;
ANCHOR(enum, rule_set_slot) = 0;
ANCHOR(enum, conntrack_flag) = 0;
ANCHOR(enum, hook_slot) = 0;
ANCHOR(enum, rate_cost) = 0;
ANCHOR(enum, event_level) = 0;
ANCHOR(enum, event_kind) = 0;
ANCHOR(enum, reason) = 0;
