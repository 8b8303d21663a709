import type { Clock, Pool, Upstream } from '@headgate/core'

interface Tracked {
  home: string
  seenAt: number
  open: number
  /** The newcomer that it goes to with its next request. */
  moveTo: string | undefined
}

/** Milliseconds between two looks at who may move. */
const STEP = 1000
/** A budget that was not used up is not saved for longer. */
const SAVED = 5000
/** Clients looked at in one step, and kept in all. */
const LOOKED_AT = 1000
const MAX = 100_000

/**
 * Lets clients move to upstreams that joined or came back, until those have their fair share: at most `share` of the known
 * clients per minute, the longest idle first, never one with a request open. Works on the requests that come by; no timer.
 */
export class Rebalancer {
  readonly #pool: Pool
  readonly #share: number
  readonly #idleTimeout: number
  readonly #clock: Clock
  // In the order of use, the longest idle first.
  readonly #clients = new Map<string, Tracked>()
  readonly #counts = new Map<string, number>()
  readonly #newcomers = new Set<string>()
  #budget = 0
  #lookedAt: number

  constructor (pool: Pool, share: number, idleTimeout: number, clock: Clock) {
    this.#pool = pool
    this.#share = share
    this.#idleTimeout = idleTimeout
    this.#clock = clock
    this.#lookedAt = clock.now()
    pool.on('added', ({ id }) => { this.#newcomers.add(id) })
    pool.on('removed', ({ id }) => { this.#newcomers.delete(id) })
    pool.on('state', ({ id }, { from, to }) => {
      if (to === 'up' && from !== 'degraded') this.#newcomers.add(id)
    })
  }

  /** A client's request begins; gives where it is to move. `closed` must follow. */
  opened (key: string, home: string): string | undefined {
    const now = this.#clock.now()
    let client = this.#clients.get(key)
    if (client === undefined) {
      if (this.#clients.size >= MAX) this.#drop(this.#clients.keys().next().value!)
      client = { home, seenAt: now, open: 0, moveTo: undefined }
      this.#count(home, 1)
    } else this.#clients.delete(key)
    this.#clients.set(key, client)
    client.open++
    client.seenAt = now
    if (client.home !== home && client.moveTo === undefined) {
      this.#count(client.home, -1)
      this.#count(home, 1)
      client.home = home
    }
    if (now - this.#lookedAt >= STEP) this.#step(now)
    // The newcomer that it was to go to may have left or failed meanwhile.
    if (client.moveTo !== undefined && this.#pool.get(client.moveTo)?.ready !== true) this.settled(key, home)
    return client.moveTo
  }

  /** It belongs to `home` from now on, whatever was planned. */
  settled (key: string, home: string): void {
    const client = this.#clients.get(key)
    if (client === undefined) return
    this.#count(client.moveTo ?? client.home, -1)
    this.#count(home, 1)
    client.home = home
    client.moveTo = undefined
  }

  closed (key: string): void {
    const client = this.#clients.get(key)
    if (client !== undefined) client.open--
  }

  #step (now: number): void {
    const passed = Math.min(now - this.#lookedAt, SAVED)
    this.#lookedAt = now
    for (const [key, { seenAt, open }] of this.#clients) {
      if (now - seenAt < this.#idleTimeout) break
      if (open === 0) this.#drop(key)
    }
    if (this.#newcomers.size === 0) {
      this.#budget = 0
      return
    }
    this.#budget = Math.min(this.#budget + this.#share * this.#clients.size * passed / 60_000, Math.max(1, this.#share * this.#clients.size))
    this.#move()
  }

  #move (): void {
    let looked = 0
    for (const client of this.#clients.values()) {
      if (this.#budget < 1 || ++looked > LOOKED_AT) return
      if (client.open > 0 || client.moveTo !== undefined || this.#missing(client.home) >= 0) continue
      const newcomer = this.#neediest()
      if (newcomer === undefined) return
      client.moveTo = newcomer
      this.#count(client.home, -1)
      this.#count(newcomer, 1)
      this.#budget--
    }
  }

  /** The ready newcomer that lacks most; those that have their share are newcomers no more. */
  #neediest (): string | undefined {
    let neediest: string | undefined
    let most = 0
    for (const id of this.#newcomers) {
      const upstream = this.#pool.get(id)
      if (upstream?.ready !== true) continue
      const missing = this.#missing(id)
      if (missing < 1) this.#newcomers.delete(id)
      else if (missing > most) {
        neediest = id
        most = missing
      }
    }
    return neediest
  }

  /** Clients that an upstream lacks of its fair share; negative: has too many. */
  #missing (id: string): number {
    const ready = this.#pool.ready
    let total = 0
    let own: Upstream | undefined
    for (const upstream of ready) {
      total += upstream.configuredWeight
      if (upstream.id === id) own = upstream
    }
    const fair = own === undefined ? 0 : this.#clients.size * own.configuredWeight / total
    return fair - (this.#counts.get(id) ?? 0)
  }

  #count (id: string, by: number): void {
    const count = (this.#counts.get(id) ?? 0) + by
    if (count === 0) this.#counts.delete(id)
    else this.#counts.set(id, count)
  }

  #drop (key: string): void {
    const client = this.#clients.get(key)!
    this.#clients.delete(key)
    this.#count(client.moveTo ?? client.home, -1)
  }
}
