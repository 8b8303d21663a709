import type { StorePurge } from '@headgate/cache'
import type { Clock, Timer } from '@headgate/core'
import type { Client } from '../client.ts'
import type { Connection } from '../connection.ts'
import { PurgeUnconfirmedError } from '../errors.ts'
import { Bans } from './bans.ts'
import type { Names } from './keys.ts'
import { after, type Position, positionOf } from './position.ts'
import { BEAT, LEAVE, OPEN } from './scripts.ts'

/** Records that are kept; what was stored before the oldest counts as purged. */
const MAX_RECORDS = 10_000
/** Purges of this process that wait for Redis to be back; when there are more, everything is purged. */
const MAX_PENDING = 1000
/** Milliseconds that a read waits for a record, and for how much longer it may take before its connection is given up. */
const BLOCK = 5000
const STUCK = 5000
/** Milliseconds between two attempts to come back, and between two looks at who has confirmed. */
const RETRY = 100
const LOOK = 25
/** Records read at once. */
const PAGE = 500
/** What a beat, a record or a page of them may take: nobody's request waits for it. */
const PATIENCE = 1000

interface Record extends StorePurge {
  /** Milliseconds since the epoch. */
  readonly at: number
  /** Who purged. */
  readonly from: string
}

export interface PurgeLogOptions {
  readonly connection: Connection
  readonly names: Names
  /** Of this process. */
  readonly id: string
  /** Milliseconds for which shared responses may be used after the last contact. */
  readonly lease: number
  /** Milliseconds that purges wait for a process without contact. */
  readonly patience: number
  /** A purge came; `own`: of this process. */
  readonly purged: (purge: StorePurge, position: Position, at: number, own: boolean) => void
}

/**
 * The log of purges that all processes read, and who they are. A stream instead of a channel: a process that was away reads what it missed, and
 * who purges sees who has read it. A process is attached while its lease runs: so long it has read every purge that was confirmed.
 */
export class PurgeLog {
  readonly bans: Bans = new Bans()
  readonly #options: PurgeLogOptions
  readonly #clock: Clock
  readonly #reader: Client
  #pending: Record[] = []
  /** The last record read; '' before the log is open. */
  #cursor = ''
  /** The last one that Redis was told of. */
  #told = ''
  /** Who was there at the last contact. */
  #peers: readonly string[] = []
  /** Clock time of that. */
  #contactAt = -Infinity
  /** Over which connection, and with which server that was. */
  #met: object | undefined
  #server: string | undefined
  #attachedUntil = -Infinity
  #closed = false
  #timer: Timer
  #attaching: Promise<void> | undefined
  #opened: () => void = () => {}
  /** Resolves at the first contact. */
  readonly ready: Promise<void>

  constructor (options: PurgeLogOptions) {
    this.#options = options
    const { connection } = options
    this.#clock = connection.clock
    this.#reader = connection.open(false)
    this.ready = new Promise((resolve) => { this.#opened = resolve })
    connection.on('back', this.#onBack)
    connection.on('hung', this.#onHung)
    this.#reader.on('ready', this.#onBack)
    void this.#attach()
    void this.#read()
  }

  get attached (): boolean { return this.#clock.now() < this.#attachedUntil }

  /**
   * Purges everywhere. Resolves when every process has confirmed it, or has not been heard of for longer than it may use what it has. Rejects
   * with `HG_REDIS_PURGE_UNCONFIRMED`; in this process it holds in any case, and everywhere else before shared state is used again.
   */
  async publish (purge: StorePurge): Promise<void> {
    const record: Record = { ...purge, at: this.#clock.wall(), from: this.#options.id }
    const deadline = this.#clock.now() + this.#options.lease + PATIENCE
    const { connection, names } = this.#options
    let session: object | undefined
    try {
      for (;;) {
        session = connection.session(names.log)
        // Who was there has to be known before anything is confirmed.
        await this.#meet(session)
        await this.#confirmed(await this.#tell(record), session, deadline)
        // Said by one that another took the place of, it is worth nothing.
        while (session === connection.session(names.log)) {
          if (await connection.holds(session, names.log)) return
          this.#hasTime(deadline, 'the sentinels do not name its server the primary')
          await this.#pause(RETRY)
        }
        await connection.connected(deadline - this.#clock.now())
        this.#hasTime(deadline, 'another server has become the primary')
      }
    } catch (error) {
      if (!(error instanceof PurgeUnconfirmedError) || !await connection.holds(session, names.log)) this.#keep(record)
      throw error instanceof PurgeUnconfirmedError ? error : new PurgeUnconfirmedError((error as Error).message)
    }
  }

  /** A first contact with the server that is asked now. */
  async #meet (session: object | undefined): Promise<void> {
    // One that was under way may have begun with another.
    for (let i = 0; i < 2 && this.#met !== session; i++) await this.#attach()
    if (this.#met !== session) throw new Error('no contact')
  }

  #hasTime (deadline: number, problem: string): void {
    if (this.#clock.now() >= deadline || this.#closed) throw new PurgeUnconfirmedError(problem)
  }

  async #tell (record: Record): Promise<Position> {
    let id = await this.#add(record)
    if (id === null) {
      // Redis has lost the log.
      await this.#attach()
      id = await this.#add(record)
    }
    if (id === null) throw new Error('the log of purges is lost')
    return positionOf(id)
  }

  /** Resolves when all members have read up to `place`, or another server is asked now: what that one has of purges and members is another matter. */
  async #confirmed (place: Position, session: object | undefined, deadline: number): Promise<void> {
    const { connection, names } = this.#options
    for (;;) {
      let problem: string
      try {
        const members = await connection.ask((client) => client.smembers(names.nodes), PATIENCE)
        const seen = members.length === 0 ? [] : await connection.ask((client) => client.mget(members.map((member) => names.node(member))), PATIENCE)
        if (connection.session(names.log) !== session) return
        const late: string[] = []
        const gone: string[] = []
        for (const [i, member] of members.entries()) {
          const read = seen[i]
          if (read === null || read === undefined) gone.push(member)
          else if (positionOf(read) < place) late.push(member)
        }
        if (gone.length > 0) await connection.ask((client) => client.srem(names.nodes, ...gone), PATIENCE)
        // This one may be no member any more itself, after a pause; it has to have read it all the same.
        if (late.length === 0 && this.bans.position >= place) return
        problem = `no word from ${late.length} of the members: ${late.join(', ')}`
      } catch (error) {
        if (connection.session(names.log) !== session) return
        problem = (error as Error).message
      }
      this.#hasTime(deadline, problem)
      await this.#pause(LOOK)
    }
  }

  /** Names of the processes that are there; rejects when Redis is away. */
  async members (): Promise<string[]> {
    const { connection, names } = this.#options
    const members = await connection.ask((client) => client.smembers(names.nodes))
    const seen = members.length === 0 ? [] : await connection.ask((client) => client.mget(members.map((member) => names.node(member))))
    return members.filter((_, i) => seen[i] !== null)
  }

  async close (): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.#attachedUntil = -Infinity
    this.#clock.clearTimeout(this.#timer)
    const { connection, names, id } = this.#options
    connection.off('back', this.#onBack)
    connection.off('hung', this.#onHung)
    this.#reader.disconnect()
    await this.#attaching
    await connection.ask((client) => client.eval(LEAVE, 2, names.nodes, names.node(id), id)).catch(() => {})
  }

  readonly #onBack = (): void => { void this.#attach() }

  // What it waits for would not come either.
  readonly #onHung = (): void => { if (this.#reader.status === 'ready') this.#reader.disconnect(true) }

  /** `null`: there is no log. */
  #add (record: Record): Promise<string | null> {
    const { connection, names } = this.#options
    return connection.ask((client) => client.xadd(names.log, 'NOMKSTREAM', 'MAXLEN', '~', MAX_RECORDS, '*', 'p', JSON.stringify(record)), PATIENCE)
  }

  /** Redis is away: it holds here, and is told to the others before this process reads anything shared again. */
  #keep (record: Record): void {
    this.#pending.push(record)
    if (this.#pending.length > MAX_PENDING) this.#pending.splice(0, Infinity, { by: 'all', names: [], mode: 'hard', at: record.at, from: record.from })
    this.#attachedUntil = -Infinity
    const place = after(this.bans.position)
    this.bans.add(place, record, record.at)
    this.#options.purged(record, place, record.at, true)
    void this.#attach()
  }

  #attach (): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return this.#attaching ??= this.#contact().then(() => { this.#opened() }, () => {}).finally(() => {
      this.#attaching = undefined
      if (this.#closed) return
      this.#clock.clearTimeout(this.#timer)
      this.#timer = this.#clock.setTimeout(() => { void this.#attach() }, this.attached ? this.#options.lease / 4 : RETRY)
    })
  }

  async #contact (): Promise<void> {
    const { connection, names, id, lease, patience } = this.#options
    const session = connection.session(names.log)
    const server = connection.server(names.log)
    if (this.#cursor === '') await this.#open()
    const pending = new Set(this.#pending)
    for (const record of pending) while (await this.#add(record) === null) await this.#open()
    const sentAt = this.#clock.now()
    const told = this.#cursor
    const [known, last, members] = await connection.ask(
      (client) => client.eval(BEAT, 3, names.log, names.nodes, names.node(id), id, told, Math.round(patience)), PATIENCE) as [string, string, string[]]
    this.#told = told
    if (known === '-') {
      await this.#open()
      return this.#contact()
    }
    // It was a member a moment ago: Redis has lost who is there. One that took another's place may never have heard of everybody.
    if ((known === '0' && sentAt - this.#contactAt < patience) || (this.#met !== undefined && server !== this.#server)) {
      await this.#remember(this.#cursor, { by: 'all', names: [], mode: 'hard', at: this.#clock.wall(), from: id })
    }
    // Purges of a time in which nobody waited for this process: it has to know them first.
    if (known === '0' || !this.attached) await this.#catchUp(positionOf(last))
    // One that another took the place of does not wait for those who are with that.
    if (!await connection.holds(session, names.log)) throw new Error('this is not the primary')
    this.#contactAt = sentAt
    this.#met = session
    this.#server = server
    this.#peers = members
    this.#pending = this.#pending.filter((record) => !pending.has(record))
    // A tenth is for clocks that run at different speeds.
    if (this.#pending.length === 0) this.#attachedUntil = sentAt + lease * 0.9
  }

  /** Finds the log, or begins one; when records that were read have been lost, everything that was stored before counts as purged. */
  async #open (): Promise<void> {
    const reset: Record = { by: 'all', names: [], mode: 'hard', at: this.#clock.wall(), from: this.#options.id }
    this.#attachedUntil = -Infinity
    const before = this.#cursor
    let first = await this.#remember(before, reset)
    // It went back to what it was some time ago: purges since then are lost, and what they removed may be there again.
    if (before !== '' && positionOf(first) <= positionOf(before)) first = await this.#add(reset) ?? first
    const place = positionOf(first)
    this.bans.raise(place)
    this.#options.purged(reset, place, reset.at, false)
    this.#cursor = first
  }

  /** Opens the log, and tells Redis of members that it may have lost, so that purges wait for them. Gives the log's first id. */
  #remember (before: string, reset: Record): Promise<string> {
    const { connection, names, id, patience } = this.#options
    const peers = before === '' ? [] : this.#peers.filter((peer) => peer !== id)
    return connection.ask((client) => client.eval(
      OPEN, 2 + peers.length, names.log, names.nodes, ...peers.map((peer) => names.node(peer)), JSON.stringify(reset), Math.round(patience), ...peers
    ), PATIENCE) as Promise<string>
  }

  async #catchUp (last: Position): Promise<void> {
    const { connection, names } = this.#options
    while (positionOf(this.#cursor) < last) {
      const page = await connection.ask((client) => client.xrange(names.log, `(${this.#cursor}`, '+', 'COUNT', PAGE), PATIENCE)
      if (page.length === 0) return
      for (const [id, fields] of page) this.#apply(id, fields)
    }
  }

  async #read (): Promise<void> {
    const { names } = this.#options
    await this.ready
    while (!this.#closed) {
      const stuck = this.#clock.setTimeout(() => { this.#reader.disconnect(true) }, BLOCK + STUCK)
      try {
        const reply = await this.#reader.xread('COUNT', PAGE, 'BLOCK', BLOCK, 'STREAMS', names.log, this.#cursor) as [string, [string, string[]][]][] | null
        if (reply === null) continue
        for (const [id, fields] of reply[0]?.[1] ?? []) this.#apply(id, fields)
        // Whoever purged waits for it; a beat that was under way has told an older place.
        await this.#attach()
        if (this.#told !== this.#cursor) await this.#attach()
      } catch {
        await this.#pause(RETRY)
      } finally {
        this.#clock.clearTimeout(stuck)
      }
    }
  }

  #apply (id: string, [, text = '']: string[]): void {
    const place = positionOf(id)
    if (place <= positionOf(this.#cursor)) return
    this.#cursor = id
    let record: Record
    try {
      record = JSON.parse(text) as Record
    } catch {
      record = { by: 'all', names: [], mode: 'hard', at: 0, from: '' }
    }
    this.bans.add(place, record, record.at)
    this.#options.purged(record, place, record.at, record.from === this.#options.id)
  }

  #pause (ms: number): Promise<void> {
    return new Promise((resolve) => { this.#clock.setTimeout(resolve, ms, true) })
  }
}

