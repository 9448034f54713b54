/* The network of the bench: loopback alone, with nothing of the machine's tuning. */
#ifndef TESTS_BENCH_LOAD_NET_H
#define TESTS_BENCH_LOAD_NET_H

/* Puts this process and its children into a network namespace of their own, with loopback up, cubic as congestion control and room for the ports of
 * 10,000 connections.  Where it may not (it takes root) all stays as it is, and a line says which congestion control is in use.  Before the first
 * socket and the first thread. */
void net_enter(void);

#endif
