/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * The redirect `sockmap`: once a connection of an endpoint's with its proxy is there, set up as by sk_assign,
 * what either sends is put into the other's queue, and no packet is made of it.
 *
 * Packets are what TCP bounds its queues by, and what policy is judged on. So what is sent goes by packets
 * unless all of this holds:
 *   - the other end has few enough bytes to read already (CARRY_LIMIT), which the kernel counts;
 *   - nothing is under way by packets, which would be overtaken: all of it is acknowledged and read;
 *   - the last packet was judged by what is in force now: the decisions in the flow's entry hold;
 *   - the proxy has spoken by packets: until then it may refuse, and only packets in its queue become a reset;
 *   - nobody wants to see packets: no filter of the operator's, no limit of bandwidth.
 * After a change of policy the next word goes by packets, is judged anew, and is reset or carried again.
 *
 * Whose sockets belong together is settled when they are there: both know the connection's ends and where
 * its bytes are counted from, which nobody else knows; others may have the same addresses.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "abi/config.h"
#include "abi/maps.h"
#include "lib/hook.h"
#include "lib/identity.h"
#include "lib/packet.h"
#include "lib/pair.h"
#include "lib/redirect.h"

#define FAMILY_INET 2
/* Bytes that the other end has not read. TCP's own buffers begin with half of that. */
#define CARRY_LIMIT (256 << 10)
/* Where the kernel has these fields; the loader knows its types. */
CONSTANT(__u32, socket_cookie_offset, 0);
CONSTANT(__u32, socket_data_offset, 0);
CONSTANT(__u32, socket_unread_offset, 0);
CONSTANT(__u32, socket_written_offset, 0);
CONSTANT(__u32, socket_acknowledged_offset, 0);
CONSTANT(__u32, socket_received_offset, 0);
CONSTANT(__u32, socket_read_offset, 0);
/* The kernel's number of the node's own namespace, where proxies are. */
CONSTANT(__u64, socket_namespace, 0);
/* sk_user_data: its lowest bits are flags. */
#define DATA_FLAGS 7ULL

static __always_inline __u32 word_at(__u64 place, __u32 offset)
{
	__u32 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)(place + offset));
	return word;
}

static __always_inline __u64 long_at(__u64 place, __u32 offset)
{
	__u64 word = 0;

	bpf_probe_read_kernel(&word, sizeof(word), (void *)(place + offset));
	return word;
}

/*
 * The key of a socket, from either kind of context that tells of one. Fields are read one by one: the
 * compiler would reckon with the context ("dereference of modified ctx ptr").
 */
#define KEY_OF(name, type)                                                                    \
	static __always_inline void name(type *source, struct socket_key *key)                \
	{                                                                                     \
		volatile type *ctx = source;                                                  \
                                                                                              \
		key->namespace = bpf_get_netns_cookie(source);                                \
		if (ctx->family == FAMILY_INET) {                                             \
			key->local = address_from_ipv4(ctx->local_ip4);                       \
			key->remote = address_from_ipv4(ctx->remote_ip4);                     \
			asm volatile("# so that no load is shared with IPv6" ::: "memory");   \
		} else {                                                                      \
			_Pragma("clang loop unroll(full)") for (int i = 0; i < 4; i++) {      \
				key->local.word[i] = ctx->local_ip6[i];                       \
				key->remote.word[i] = ctx->remote_ip6[i];                     \
			}                                                                     \
		}                                                                             \
		key->local_port = ctx->local_port;                                            \
		key->remote_port = bpf_ntohl(ctx->remote_port);                               \
	}

KEY_OF(key_of_event, struct bpf_sock_ops)
KEY_OF(key_of_message, struct sk_msg_md)

/* The other end's key, of the same connection. */
static __always_inline void key_swap(struct socket_key *to, const struct socket_key *from, __u64 namespace)
{
	to->namespace = namespace;
	to->local = from->remote;
	to->remote = from->local;
	to->local_port = from->remote_port;
	to->remote_port = from->local_port;
}

/* The entry of a connection, which must be led to a proxy now; null otherwise. */
static __always_inline struct conntrack_entry *entry_led(const struct socket_key *socket, __u32 now)
{
	struct packet packet = { .protocol = IPPROTO_TCP };
	struct flow_key key = {};
	struct conntrack_entry *entry;

	packet.source = socket->local;
	packet.destination = socket->remote;
	packet.source_port = bpf_htons(socket->local_port);
	packet.destination_port = bpf_htons(socket->remote_port);
	packet_flow_key(&packet, &key);
	entry = bpf_map_lookup_elem(&conntrack, &key);
	if (!entry || !redirect_led(entry) || conntrack_is_closed(entry) ||
	    conntrack_is_over(entry, now, IPPROTO_TCP))
		return (void *)0;
	return entry;
}

static __always_inline __u32 seconds(void)
{
	return bpf_ktime_get_ns() / NANOSECONDS_PER_SECOND;
}

/* Where the kernel has the socket of an event; nowhere when it has none. */
static __always_inline void place_of(struct bpf_sock_ops *ctx, struct socket_place *place, __u64 namespace)
{
	struct bpf_sock *socket = ctx->sk;

	place->namespace = namespace;
	place->cookie = bpf_get_socket_cookie(ctx);
	if (socket)
		place->socket = (__u64)bpf_skc_to_tcp_sock(socket);
}

/* A client of this node's is connected: it waits for its proxy's socket. */
static __always_inline void meet_client(struct bpf_sock_ops *ctx, struct socket_key *key)
{
	struct meeting_key meeting = {};
	struct socket_place place = {};

	if (!endpoint_of_address(&key->local))
		return;
	meeting.client = key->local;
	meeting.server = key->remote;
	meeting.client_port = key->local_port;
	meeting.server_port = key->remote_port;
	meeting.client_sequence = ctx->snd_nxt;
	meeting.server_sequence = ctx->rcv_nxt;
	place_of(ctx, &place, key->namespace);
	if (place.socket && !bpf_sock_hash_update(ctx, &sockets, key, BPF_ANY))
		bpf_map_update_elem(&meetings, &meeting, &place, BPF_ANY);
}

/* A proxy has accepted: whom, if it is a client of this node's. */
static __always_inline void meet_proxy(struct bpf_sock_ops *ctx, struct socket_key *key)
{
	struct meeting_key meeting = {};
	struct socket_key other = {};
	struct socket_pair pair = {};
	struct socket_place place, *client;

	if (key->namespace != socket_namespace)
		return;
	meeting.client = key->remote;
	meeting.server = key->local;
	meeting.client_port = key->remote_port;
	meeting.server_port = key->local_port;
	meeting.client_sequence = ctx->rcv_nxt;
	meeting.server_sequence = ctx->snd_nxt;
	client = bpf_map_lookup_elem(&meetings, &meeting);
	if (!client)
		return;
	place_of(ctx, &pair.own, key->namespace);
	place = *client;
	pair.other = place;
	pair.sequence = meeting.server_sequence;
	bpf_map_delete_elem(&meetings, &meeting);
	if (!pair.own.socket || bpf_sock_hash_update(ctx, &sockets, key, BPF_ANY))
		return;
	key_swap(&other, key, pair.other.namespace);
	bpf_map_update_elem(&pairs, key, &pair, BPF_ANY);
	pair.other = pair.own;
	pair.own = place;
	bpf_map_update_elem(&pairs, &other, &pair, BPF_ANY);
}

SEC("sockops")
int meet(struct bpf_sock_ops *ctx)
{
	struct socket_key key = {};

	if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB && ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	key_of_event(ctx, &key);
	if (!entry_led(&key, seconds()))
		return 1;
	if (ctx->op == BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
		meet_client(ctx, &key);
	else
		meet_proxy(ctx, &key);
	return 1;
}

/* Whether the other end can take it: few bytes unread, and none that would be overtaken. */
static __always_inline _Bool can_carry(const struct socket_pair *pair, __u32 size, _Bool of_client)
{
	__u64 own = pair->own.socket, other = pair->other.socket, data;

	if (word_at(own, of_client ? socket_received_offset : socket_acknowledged_offset) == pair->sequence)
		return 0;
	if (long_at(other, socket_cookie_offset) != pair->other.cookie)
		return 0;
	data = long_at(other, socket_data_offset) & ~DATA_FLAGS;
	if (!data || word_at(data, socket_unread_offset) + size > CARRY_LIMIT)
		return 0;
	return word_at(own, socket_written_offset) == word_at(own, socket_acknowledged_offset) &&
	       word_at(other, socket_received_offset) == word_at(other, socket_read_offset);
}

/* Whether what an endpoint decided of a flow is what it would decide now. */
static __always_inline _Bool is_settled(const struct endpoint *self, const struct endpoint *peer,
					const struct decision *kept, _Bool ipv6)
{
	if (!self || self->flags & (ENDPOINT_LIMITED_EGRESS | ENDPOINT_LIMITED_INGRESS))
		return 0;
	if (kept->epoch != *(volatile __u32 *)&self->epoch || kept->verdict == VERDICT_DENY)
		return 0;
	if (peer)
		return kept->remote_identity == endpoint_identity(peer, ipv6);
	return kept->generation && kept->generation == identity_generation();
}

/* Whether the flow would be led as it is by those of its ends that are endpoints. Global: the stack is small. */
__noinline int may_carry(const struct address *client, const struct address *server,
			 const struct conntrack_entry *entry)
{
	struct endpoint *sender, *receiver;
	_Bool ipv6;

	if (!client || !server || !entry || hook_slots())
		return 0;
	ipv6 = !address_is_ipv4(client);
	sender = endpoint_of_address(client);
	receiver = endpoint_of_address(server);
	if (!is_settled(sender, receiver, &entry->decision[DIRECTION_EGRESS], ipv6))
		return 0;
	return !receiver || is_settled(receiver, sender, &entry->decision[DIRECTION_INGRESS], ipv6);
}

SEC("sk_msg")
int carry(struct sk_msg_md *ctx)
{
	struct socket_key key = {}, other = {};
	struct conntrack_entry *entry;
	struct socket_pair *pair;
	__u32 now = seconds(), size = ctx->size;
	_Bool of_client;

	key_of_message(ctx, &key);
	pair = bpf_map_lookup_elem(&pairs, &key);
	of_client = key.namespace != socket_namespace;
	if (!pair || !can_carry(pair, size, of_client))
		return SK_PASS;
	entry = entry_led(&key, now);
	if (!entry)
		return SK_PASS;
	if (!may_carry(of_client ? &key.local : &key.remote, of_client ? &key.remote : &key.local, entry))
		return SK_PASS;
	key_swap(&other, &key, pair->other.namespace);
	if (bpf_msg_redirect_hash(ctx, &sockets, &other, BPF_F_INGRESS) != SK_PASS)
		return SK_PASS;
	if (entry->last_seen != now)
		entry->last_seen = now;
	if (of_client) {
		entry->forward_packets++;
		entry->forward_bytes += size;
	} else {
		entry->reply_packets++;
		entry->reply_bytes += size;
	}
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
