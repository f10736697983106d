/* SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0 */
/*
 * What a program is given to look at: a packet at an endpoint's interface, which begins with its
 * Ethernet header, or one of the node's own at a hook of netfilter, which begins with its IP header.
 * An object is of one kind; CONTEXT_NETFILTER, defined before anything is included, makes it the other.
 */
#ifndef KINETY_LIB_CONTEXT_H
#define KINETY_LIB_CONTEXT_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#ifdef CONTEXT_NETFILTER

#include <linux/netfilter.h>

#include "abi/constant.h"

#define CONTEXT_PASS NF_ACCEPT
#define CONTEXT_DROP NF_DROP
/* Where the IP header is. */
#define CONTEXT_NETWORK 0
/* Whether packets can be led to a proxy from here. */
#define CONTEXT_REDIRECTS 0
/* Every network namespace has this one and gives it this number. */
#define LOOPBACK_INTERFACE 1

struct sk_buff;
struct net_device;

/* Structures of the kernel, as far as they are read; the verifier checks that they are what is read. */
struct nf_hook_state {
	__u8 hook;
	__u8 pf;
	struct net_device *in;
	struct net_device *out;
};

struct bpf_nf_ctx {
	const struct nf_hook_state *state;
	struct sk_buff *skb;
};

typedef struct bpf_nf_ctx context;

#define KERNEL_FUNCTION __attribute__((section(".ksyms")))
extern int bpf_dynptr_from_skb(struct sk_buff *skb, __u64 flags, struct bpf_dynptr *made) KERNEL_FUNCTION;

/* Where struct net_device has its number, struct sk_buff its length and mark: the loader knows the kernel's types. */
CONSTANT(__u32, context_ifindex_offset, 0);
CONSTANT(__u32, context_length_offset, 0);
CONSTANT(__u32, context_mark_offset, 0);

/*
 * Copy bytes of the packet, by their offset; 0 unless it ends before. Not inlined: the compiler would
 * give the dynptr's place on the stack to what is read next ("potential write to dynptr at off=-40").
 */
static __noinline long context_load(context *ctx, __u32 offset, void *to, __u32 size)
{
	struct bpf_dynptr bytes;

	if (bpf_dynptr_from_skb(ctx->skb, 0, &bytes))
		return -1;
	return bpf_dynptr_read(to, size, &bytes, offset, 0);
}

/* Bytes from the IP header on. */
static __always_inline __u32 context_length(context *ctx)
{
	return *(const __u32 *)((const char *)ctx->skb + context_length_offset);
}

static __always_inline __u32 context_mark(context *ctx)
{
	return *(const __u32 *)((const char *)ctx->skb + context_mark_offset);
}

/* Nanoseconds of the monotonic clock. Programs of netfilter may not ask for the coarse one. */
static __always_inline __u64 context_time(void)
{
	return bpf_ktime_get_ns();
}

/* The family's EtherType, in network byte order. */
static __always_inline __u32 context_protocol(context *ctx)
{
	return ctx->state->pf == NFPROTO_IPV4 ? bpf_htons(ETH_P_IP) : bpf_htons(ETH_P_IPV6);
}

static __always_inline __u32 device_interface(const struct net_device *device)
{
	return device ? *(const __u32 *)((const char *)device + context_ifindex_offset) : 0;
}

/* The interface that the packet came in by, 0 when it comes from the node. */
static __always_inline __u32 context_interface_in(context *ctx)
{
	return device_interface(ctx->state->in);
}

/* The interface that it goes out by. */
static __always_inline __u32 context_interface_out(context *ctx)
{
	return device_interface(ctx->state->out);
}

#else

#include <linux/pkt_cls.h>

#define CONTEXT_PASS TC_ACT_OK
#define CONTEXT_DROP TC_ACT_SHOT
#define CONTEXT_NETWORK ETH_HLEN
#define CONTEXT_REDIRECTS 1

typedef struct __sk_buff context;

static __always_inline long context_load(context *ctx, __u32 offset, void *to, __u32 size)
{
	return bpf_skb_load_bytes(ctx, offset, to, size);
}

static __always_inline __u32 context_length(context *ctx)
{
	return ctx->len - ETH_HLEN;
}

static __always_inline __u64 context_time(void)
{
	return bpf_ktime_get_coarse_ns();
}

#endif

#endif
