/** A small write that may wait for the others of its turn. */
export interface TurnWrite {
  /** Called once, later in the same turn of the event loop, with whatever may have happened meanwhile. */
  writeNow (): void
}

/** So many wait for each other at most: with more nothing is won, and what the first one waits for stays short where each request takes long. */
const MOST = 8

let waiting: TurnWrite[] = []
let armed = false

/**
 * Makes small writes of one turn of the event loop one after the other, at its end: each by itself, with the next request's work after
 * it, wakes a client on the same machine that has gone to sleep since the last one. `@headgate/core` does the same with what goes to
 * and comes from upstreams, and measured what it brings.
 */
export function writeInTurn (write: TurnWrite): void {
  if (waiting.push(write) >= MOST) return writeAll()
  if (armed) return
  armed = true
  setImmediate(turnEnds)
}

function turnEnds (): void {
  armed = false
  writeAll()
}

function writeAll (): void {
  const all = waiting
  let next = 0
  waiting = []
  try {
    while (next < all.length) all[next++]!.writeNow()
  } finally {
    // A stream that another plugin has wrapped may throw: the others are none the worse for it.
    if (next < all.length) for (const write of all.slice(next)) writeInTurn(write)
  }
}
