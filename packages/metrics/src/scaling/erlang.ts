/**
 * Probability that a customer of an M/M/c queue has to wait (A. K. Erlang, 1917), for an offered load of `load` erlangs and `servers`
 * servers; 1 where they are too few. By the recursion of the Erlang B formula, which does not overflow.
 */
export function erlangC (load: number, servers: number): number {
  if (servers <= load) return 1
  let blocking = 1
  for (let n = 1; n <= servers; n++) blocking = load * blocking / (n + load * blocking)
  return blocking / (1 - load / servers * (1 - blocking))
}

/** The fewest servers of an M/M/c queue of which each is busy at most `utilisation` of the time, and with which at most `waiting` of the customers wait. */
export function serversFor (load: number, utilisation: number, waiting: number): number {
  let servers = Math.max(1, Math.ceil(load / utilisation))
  while (erlangC(load, servers) > waiting) servers++
  return servers
}
