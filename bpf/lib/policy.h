/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * A verdict, from the rule set that an endpoint's row points at.
 *
 * There are no semantics here: precedence was settled when the rule set was made, and the
 * longest match is obeyed.
 */
#ifndef KINETY_LIB_POLICY_H
#define KINETY_LIB_POLICY_H

#include "abi/maps.h"
#include "lib/identity.h"

#define RULE_SET_KEY_BITS 56

/*
 * A class that the rule set does not name is judged as class 0, "any other peer".
 * Global: see packet_parse.
 */
__noinline int policy_lookup(__u32 slot, __u32 remote_identity, __u8 protocol, __u16 port,
			     struct rule_set_entry *verdict)
{
	struct rule_set_key key = {
		.prefix_length = RULE_SET_KEY_BITS,
		.protocol = protocol,
		.port_high = port >> 8,
		.port_low = port & 0xff,
	};
	struct rule_set_entry *found;
	void *rule_set;

	if (!verdict)
		return 0;
	*verdict = (struct rule_set_entry){ .verdict = VERDICT_DENY };
	if (slot == RULE_SET_NONE) {
		verdict->verdict = VERDICT_ALLOW;
		return 0;
	}
	rule_set = bpf_map_lookup_elem(&rule_sets, &slot);
	if (!rule_set)
		return 0;
	key.class_id = bpf_htonl(identity_class(remote_identity));
	found = bpf_map_lookup_elem(rule_set, &key);
	if (!found && key.class_id) {
		key.class_id = 0;
		found = bpf_map_lookup_elem(rule_set, &key);
	}
	if (found)
		*verdict = *found;
	return 0;
}

#endif
