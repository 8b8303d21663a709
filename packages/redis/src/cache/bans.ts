import type { Entry, PurgeMode, StorePurge } from '@headgate/cache'
import { type Position, START } from './position.ts'
import { everyQuery, isRuled } from './ruled.ts'

/** Names of which purges are remembered; when there are more, everything older than now counts as purged. */
const MAX_NAMES = 50_000

/** The last purge of a name, of each kind. */
interface Marks {
  hard: Position
  soft: Position
  /** Milliseconds since the epoch of the soft one. */
  softAt: number
  invalidate: Position
}

/** What purges say about a response. `lifetime`: it became stale at this time (milliseconds since the epoch); `Infinity`: it did not. */
export interface Verdict {
  readonly gone: boolean
  readonly invalidated: boolean
  readonly staleAt: number
}

const FINE: Verdict = { gone: false, invalidated: false, staleAt: Infinity }
const GONE: Verdict = { gone: true, invalidated: false, staleAt: Infinity }

/**
 * All purges that may concern a response which is still stored somewhere: nothing has to be looked for and deleted for a purge to hold, since
 * whoever reads a response asks here first.
 */
export class Bans {
  readonly #names: Map<string, Marks> = new Map()
  readonly #prefixes: Map<string, Marks> = new Map()
  readonly #max: number
  /** What was fetched before is purged, one way or another. */
  #floor: Position = START
  /** The last purge known here. */
  position: Position = START

  constructor (max: number = MAX_NAMES) {
    this.#max = max
  }

  get floor (): Position { return this.#floor }
  get size (): number { return this.#names.size + this.#prefixes.size }

  /** Purges before this place may be lost. */
  raise (floor: Position): void {
    if (floor > this.#floor) this.#floor = floor
    if (floor > this.position) this.position = floor
  }

  add (position: Position, { by, names, mode }: StorePurge, at: number): void {
    if (position > this.position) this.position = position
    if (by === 'all' && mode === 'hard') {
      this.#names.clear()
      this.#prefixes.clear()
      return this.raise(position)
    }
    if (by === 'all') return mark(this.#prefixes, '', mode, position, at)
    const map = by === 'prefix' ? this.#prefixes : this.#names
    for (const name of names) mark(map, by === 'prefix' ? name : `${by} ${name}`, mode, position, at)
    if (this.size <= this.#max) return
    this.#names.clear()
    this.#prefixes.clear()
    this.raise(position)
  }

  /** What has become of a response that was fetched when the purges up to `position` were known. */
  judge (entry: Entry, position: Position): Verdict {
    if (position < this.#floor) return GONE
    if (position >= this.position) return FINE
    let hard = START
    let invalidate = START
    let staleAt = Infinity
    const look = (marks: Marks | undefined): void => {
      if (marks === undefined) return
      if (marks.hard > hard) hard = marks.hard
      if (marks.invalidate > invalidate) invalidate = marks.invalidate
      if (marks.soft > position) staleAt = Math.min(staleAt, marks.softAt)
    }
    look(this.#names.get(`url ${entry.url}`))
    if (isRuled(entry)) look(this.#names.get(`url ${everyQuery(entry.url)}`))
    for (const tag of entry.tags) look(this.#names.get(`tag ${tag}`))
    for (const group of entry.groups) look(this.#names.get(`group ${group}`))
    if (this.#prefixes.size > 0) for (const [prefix, marks] of this.#prefixes) if (entry.url.startsWith(prefix)) look(marks)
    if (hard > position) return GONE
    return invalidate > position || staleAt < Infinity ? { gone: false, invalidated: invalidate > position, staleAt } : FINE
  }
}

function mark (map: Map<string, Marks>, name: string, mode: PurgeMode, position: Position, at: number): void {
  let marks = map.get(name)
  if (marks === undefined) map.set(name, marks = { hard: START, soft: START, softAt: Infinity, invalidate: START })
  if (position <= marks[mode]) return
  marks[mode] = position
  if (mode === 'soft') marks.softAt = at
}
