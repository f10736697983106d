/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The structures that the programs and user space share.
 *
 * This file is the only place where their layout is written. tools/gen_abi.py reads
 * the BTF of abi.bpf.c, which includes it, and writes src/kinety/abi from that. Every
 * structure is free of implicit padding, so its bytes can be compared and hashed.
 *
 * Addresses are 16 bytes in network byte order; IPv4 is mapped (::ffff:a.b.c.d).
 */
#ifndef KINETY_ABI_TYPES_H
#define KINETY_ABI_TYPES_H

#include <linux/types.h>

struct address {
	__be32 word[4];
};

/* Always the endpoint's view: egress leaves the endpoint, ingress enters it. */
enum direction {
	DIRECTION_EGRESS = 0,
	DIRECTION_INGRESS = 1,
	DIRECTION_COUNT = 2,
};

enum family {
	FAMILY_IPV4 = 0,
	FAMILY_IPV6 = 1,
	FAMILY_COUNT = 2,
};

enum verdict {
	VERDICT_DENY = 0,
	VERDICT_ALLOW = 1,
	VERDICT_REDIRECT = 2,
};

/* Numbers fixed by the field's convention; 256-65535 are cluster scope. */
enum reserved_identity {
	IDENTITY_UNKNOWN = 0,
	IDENTITY_HOST = 1,
	IDENTITY_WORLD = 2,
	IDENTITY_UNMANAGED = 3,
	IDENTITY_HEALTH = 4,
	IDENTITY_INIT = 5,
	IDENTITY_REMOTE_NODE = 6,
	IDENTITY_KUBE_APISERVER = 7,
	IDENTITY_INGRESS = 8,
	IDENTITY_WORLD_IPV4 = 9,
	IDENTITY_WORLD_IPV6 = 10,
	IDENTITY_FIRST_CLUSTER = 256,
	IDENTITY_LAST_CLUSTER = 65535,
	IDENTITY_LOCAL_BIT = 1 << 24,
};

enum endpoint_flag {
	/* The row is complete. Until it is set, every packet of the interface is dropped. */
	ENDPOINT_READY = 1 << 0,
	/* There is a limit in rates; of ingress one bit further than of egress. */
	ENDPOINT_LIMITED_EGRESS = 1 << 1,
	ENDPOINT_LIMITED_INGRESS = 1 << 2,
};

/* Slot 0 in endpoints is the node's own: interfaces are counted from 1, so it is nobody else's. */
enum endpoint_slot {
	ENDPOINT_SLOT_HOST = 0,
	ENDPOINT_SLOT_FIRST = 1,
};

/* Rule-set slot 0 means: no policy in this direction, everything is allowed. */
enum rule_set_slot {
	RULE_SET_NONE = 0,
};

/*
 * One container interface; or the node itself, which has no interface, MACs, addresses or id here.
 * User space maps the array into memory and changes single 32-bit words of a live row: first the
 * rule-set slot, then the epoch. Programs read them in the opposite order, so a verdict is never
 * kept under an epoch that is newer than the rule set it came from.
 */
struct endpoint {
	__u32 flags;                          /* enum endpoint_flag */
	__u32 epoch;                          /* unique on the node; raised when a verdict may change */
	__u32 rule_set[DIRECTION_COUNT];      /* slot in rule_sets */
	__u32 shadow_rule_set[DIRECTION_COUNT]; /* judged beside rule_set and only reported; 0: off */
	__u32 identity[FAMILY_COUNT];         /* who it is to others in flows of a family */
	__u32 id;                             /* endpoint id of the API */
	__u32 interface;                      /* interface index, host side */
	__u8 container_mac[6];
	__u8 host_mac[6];
	struct address ipv4;                  /* all zero: the endpoint has none */
	struct address ipv6;
	__u32 reserved[3];
};

struct local_address {
	__u32 slot;                           /* index in endpoints */
	__u32 flags;
};

/* What a byte costs is written in parts of a nanosecond, for the sake of fast rates. */
enum rate_cost {
	RATE_COST_NANOSECOND = 1 << 20,
};

/* How fast an endpoint may send or receive (lib/rate.h). */
struct rate {
	__u64 cost;                           /* of a byte, in parts of a nanosecond (enum rate_cost) */
	__u64 burst;                          /* nanoseconds that may be used in advance */
	__u64 due;                            /* monotonic clock: when all that passed has gone by */
	__u64 dropped_packets;
	__u64 dropped_bytes;
};

struct ipcache_entry {
	__u32 identity;
	__u32 node;                           /* index in nodes; 0: this node or none */
};

struct ipcache_prefix_key {
	__u32 prefix_length;                  /* bits of the 16-byte address */
	struct address address;
};

/*
 * Key of a rule set's inner trie. Prefix lengths: 32 = the class, 40 = and the
 * protocol, 41-56 = and that many leading bits of the port (or ICMP type).
 * A class that a rule set names always has a row of length 32, so a miss says that the
 * rule set does not name the class; then class 0 is asked.
 */
struct rule_set_key {
	__u32 prefix_length;
	__be32 class_id;
	__u8 protocol;
	__u8 port_high;
	__u8 port_low;
	__u8 reserved;
};

struct rule_set_entry {
	__u32 rule;                           /* the rule that decided; 0: default */
	__u16 proxy_port;                     /* host byte order; 0 unless VERDICT_REDIRECT */
	__u8 verdict;                         /* enum verdict */
	__u8 flags;
};

/* The two ends of a flow in ascending order, so both directions find one entry. */
struct flow_key {
	struct address low;
	struct address high;
	__be16 low_port;                      /* ICMP echo: the identifier at the asker's end */
	__be16 high_port;
	__u8 protocol;
	__u8 proxied;                         /* 1: what a proxy opened in the name of its client */
	__u8 reserved[2];
};

/* A verdict with everything it depended on. */
struct decision {
	__u32 remote_identity;
	__u32 epoch;                          /* of the endpoint that judged; 0: not judged yet */
	__u32 generation;                     /* node_state.ipcache_generation of the identity look-up */
	__u32 rule;
	__u16 proxy_port;
	__u8 verdict;
	__u8 flags;
};

enum conntrack_flag {
	CONNTRACK_INITIATOR_HIGH = 1 << 0,    /* the flow was opened by the high end */
	CONNTRACK_REPLIED = 1 << 1,           /* a packet has come back */
	CONNTRACK_SYN = 1 << 2,               /* opened by a SYN, not picked up in the middle */
	CONNTRACK_FIN_FORWARD = 1 << 3,
	CONNTRACK_FIN_REPLY = 1 << 4,
	CONNTRACK_RESET = 1 << 5,
	/* Opened by an endpoint of this node by way of the stack, and so answered. */
	CONNTRACK_ROUTED = 1 << 6,
	/* Led to a proxy: what its opener sends goes to the listener proxy_port, or to a socket of it. */
	CONNTRACK_REDIRECTED = 1 << 7,
};

struct conntrack_entry {
	__u32 last_seen;                      /* seconds of the monotonic clock */
	__u32 flags;                          /* enum conntrack_flag */
	struct decision decision[DIRECTION_COUNT]; /* [egress] of the opener, [ingress] of the opened */
	__u64 forward_packets;
	__u64 forward_bytes;
	__u64 reply_packets;
	__u64 reply_bytes;
	__u16 proxy_port;                     /* of a listener that has a part in the flow, host byte order; 0: none */
	__u16 reserved[3];
};

struct fragment_key {
	struct address source;
	struct address destination;
	__u32 identification;
	__u8 protocol;
	__u8 reserved[3];
};

struct fragment_ports {
	__be16 source_port;
	__be16 destination_port;
};

/* How many filters of the node's operator there can be in a direction. */
enum hook_slot {
	HOOK_SLOT_FIRST = 0,
	HOOK_SLOT_COUNT = 8,
};

/* One row, mapped into memory by user space. */
struct node_state {
	__u32 ipcache_generation;             /* raised after every ipcache change */
	__u32 last_epoch;                     /* highest epoch ever given to a row; user space only */
	__u32 hooks;                          /* bit direction * HOOK_SLOT_COUNT + slot: there is a filter */
};

/* Flows of an endpoint with a peer about which its shadow rule set says something else. */
struct shadow_key {
	__u32 endpoint;                       /* endpoint id */
	__u32 remote_identity;
	__u32 rule;                           /* that would decide; 0: default */
	__u32 rule_in_force;                  /* that decided */
	__u8 direction;                       /* enum direction */
	__u8 verdict;                         /* enum verdict: what the shadow rule set says */
	__u8 verdict_in_force;
	__u8 reserved;
};

/* Numbers are added atomically. The example is the flow that made the row, and stays. */
struct shadow_counter {
	__u64 flows;                          /* that began to differ; a denied packet is a flow each time */
	__u64 packets;
	__u64 bytes;
	__u64 last_seen;                      /* nanoseconds of the monotonic clock */
	struct address peer;
	__u16 port;                           /* of the opened end, host byte order; ICMP: the type */
	__u8 protocol;
	__u8 reserved[5];
};

/* What is told of; numbers as users know them, not an order. */
enum event_level {
	EVENT_LEVEL_DROPS = 0,                /* drops, verdict changes, shadow disagreements */
	EVENT_LEVEL_FLOWS = 1,                /* and new flows */
	EVENT_LEVEL_NONE = 2,
};

enum event_kind {
	EVENT_DROP = 1,
	EVENT_NEW_FLOW = 2,
	EVENT_VERDICT_CHANGE = 3,             /* a live flow was judged again and its verdict differs */
	EVENT_SHADOW = 4,                     /* a flow begins about which the shadow rule set disagrees */
};

struct event {
	__u64 time;                           /* nanoseconds of the monotonic clock */
	__u32 endpoint;                       /* endpoint id that judged */
	__u32 local_identity;
	__u32 remote_identity;
	__u32 rule;
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 kind;                            /* enum event_kind */
	__u8 reason;                          /* enum reason */
	__u8 direction;                       /* enum direction */
	__u8 verdict;                         /* enum verdict */
	__u8 tcp_flags;
	__u16 length;                         /* bytes of the packet, without the link header */
	__u32 rule_in_force;                  /* EVENT_SHADOW: what decided, beside what would */
	__u8 verdict_in_force;
	__u8 hook;                            /* REASON_HOOK_DENIED: slot in hooks that dropped, plus one */
	__u8 reserved[6];
};

struct counter {
	__u64 packets;
	__u64 bytes;
};

#endif
