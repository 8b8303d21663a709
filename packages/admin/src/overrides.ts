import { parseUpstream, type Pool, type UpstreamSpec } from '@headgate/core'
import { type PoolChange, reasonOf } from './changes.ts'
import type { AddedUpstream, OperatorState } from './model.ts'
import { baseOf, isLeaving } from './state.ts'

/** What operators said of one member, all changes together. */
interface Override {
  /** The configuration's own member has gone. */
  readonly removed?: true
  /** This one was added, in its place or beside the others; `turn` tells it from one that was added before. */
  readonly added?: AddedUpstream | string
  readonly turn?: number
  readonly weight?: number
  readonly state?: Exclude<OperatorState, 'auto'>
  readonly reason?: string
}

interface PoolOverrides {
  /** What the configuration said: with another one, what operators said is void. */
  readonly base: string
  readonly turns: number
  readonly members: Readonly<Record<string, Override>>
}

/** All that operators changed, by pool: what a worker needs to become like the others. */
export type AllOverrides = Readonly<Record<string, PoolOverrides>>

export type FindPool = (name: string) => Pool | undefined

/** Keeps what operators changed, and makes this worker's pools follow what was changed elsewhere. */
export class Overrides {
  readonly #find: FindPool
  readonly #bases: Map<string, string> = new Map()
  readonly #failed: (error: unknown, pool: string, id: string) => void
  /** Removals under way, by pool and id: what comes after one waits for it. */
  readonly #removals: Map<string, Promise<void>> = new Map()
  #now: AllOverrides = {}

  constructor (find: FindPool, failed: (error: unknown, pool: string, id: string) => void) {
    this.#find = find
    this.#failed = failed
  }

  /** The pools are as the configuration has them. */
  begin (pools: Iterable<Pool>): void {
    for (const pool of pools) this.#bases.set(pool.name, baseOf(pool))
  }

  /** Takes down changes that were made here. */
  made (changes: readonly PoolChange[], by: string): AllOverrides {
    const all: Record<string, PoolOverrides> = { ...this.#now }
    for (const change of changes) {
      const pool = this.#find(change.pool)!
      const { base, turns, members } = all[pool.name] ?? { base: this.#bases.get(pool.name) ?? baseOf(pool), turns: 0, members: {} }
      const id = change.op === 'add' ? parseUpstream(change.upstream as UpstreamSpec, 'upstream', pool.settings).settings.id : change.id
      const { [id]: before = {}, ...rest } = members
      const after = changed(before, change, turns, by)
      // The last one last: newcomers make them in this order.
      all[pool.name] = { base, turns: turns + 1, members: after === undefined ? rest : { ...rest, [id]: after } }
    }
    return this.#now = all
  }

  /** Does what was changed elsewhere. */
  follow (all: AllOverrides): void {
    const before = this.#now
    this.#now = all
    for (const [name, { base, members }] of Object.entries(all)) {
      const pool = this.#find(name)
      if (pool === undefined || base !== this.#bases.get(name)) continue
      const had = before[name]?.members ?? {}
      for (const id of Object.keys(had)) if (members[id] === undefined) this.#change(pool, id, had[id]!, {})
      for (const [id, want] of Object.entries(members)) this.#change(pool, id, had[id] ?? {}, want)
    }
  }

  #change (pool: Pool, id: string, had: Override, want: Override): void {
    if (JSON.stringify(had) === JSON.stringify(want)) return
    const key = `${pool.name}\n${id}`
    const goes = (had.added !== undefined && had.turn !== want.turn) || (want.removed === true && had.removed !== true)
    if (goes) this.#remove(pool, id, key)
    const rest = (): void => {
      try {
        this.#adjust(pool, id, goes ? {} : had, want)
      } catch (error) {
        this.#failed(error, pool.name, id)
      }
    }
    const leaving = this.#removals.get(key)
    if (leaving === undefined) rest()
    // What has been taken back meanwhile is not done.
    else void leaving.then(() => { if (this.#now[pool.name]?.members[id] === want) rest() })
  }

  #remove (pool: Pool, id: string, key: string): void {
    const upstream = pool.get(id)
    if (upstream === undefined || isLeaving(upstream)) return
    const removal = pool.remove(id).catch((error: unknown) => { this.#failed(error, pool.name, id) }).finally(() => { this.#removals.delete(key) })
    this.#removals.set(key, removal)
  }

  #adjust (pool: Pool, id: string, had: Override, want: Override): void {
    if (want.added !== undefined && want.turn !== had.turn) pool.add(want.added as UpstreamSpec)
    const upstream = pool.get(id)
    // Discovery may have taken it away.
    if (upstream === undefined || isLeaving(upstream)) return
    if (want.weight !== undefined && want.weight !== upstream.configuredWeight) pool.setWeight(id, want.weight)
    if (want.state !== had.state || want.reason !== had.reason) upstream.health.force(want.state, want.reason ?? 'left to evidence by an operator')
  }
}

/** `undefined`: nothing is left to say. */
function changed (before: Override, change: PoolChange, turn: number, by: string): Override | undefined {
  switch (change.op) {
    case 'add':
      return { ...before.removed === true && { removed: true }, added: change.upstream, turn }
    case 'remove':
      return before.added === undefined || before.removed === true ? { removed: true } : undefined
    case 'weight':
      return { ...before, weight: change.weight }
    case 'state': {
      const { state: _state, reason: _reason, ...rest } = before
      if (change.state === 'auto') return Object.keys(rest).length === 0 ? undefined : rest
      return { ...rest, state: change.state, reason: reasonOf(change, by) }
    }
  }
}
