import type { Entry } from '../entry.ts'
import { BrokenOffError } from '../errors.ts'
import type { Output } from '../output.ts'
import type { Claim, EntryWriter } from '../store/contract.ts'
import type { DetachedResponse, ResponseSink } from './detached-response.ts'
import type { Fetch } from './fetch.ts'
import { Few } from './few.ts'
import { Parked, type ReadStored } from './parked.ts'

/** Somebody who waits for a flight. */
export interface Passenger {
  /** The head is there, and it is decided what becomes of it. */
  settled (flight: Flight, outcome: Outcome): void
  interim (status: number, headers: Record<string, string | string[]>): void
  /** Would it take this stale response in place of a failure, where that is not allowed to all? */
  accepts (stale: Entry): boolean
}

export type Outcome =
  /** The response itself; `shared`: for everybody whom it selects, else for the leader alone. */
  | { readonly kind: 'stream'; readonly shared: boolean }
  /** A stored response answers: validated, or in place of a failure. */
  | { readonly kind: 'entry'; readonly entry: Entry; readonly detail: 'revalidated' | 'stale-if-error' }
  /** Start again; `plain`: without what made this request a special one. */
  | { readonly kind: 'again'; readonly plain: boolean }
  /** Nothing came at all. */
  | { readonly kind: 'failed' }

/** What decides over a flight. */
export interface Controller {
  onHead (flight: Flight): void
  onEnd (flight: Flight, complete: boolean): void
  /** Nobody waits for it or reads it any more. */
  left (flight: Flight): void
}

/** Bytes by which the slowest reader may be behind, once a body is too long to be kept. */
const WINDOW = 256 * 1024

interface Reader {
  output: Output | undefined
  /** Next chunk to write, counted from the start of the body. */
  at: number
  /** Bytes of the body in the chunks before that. */
  offset: number
  skip: number
  /** Bytes still to write; infinite for all. */
  left: number
  blocked: boolean
  parked: Parked | undefined
  /** It is none of the flight's readers any more. */
  gone: boolean
}

export interface FlightPlan {
  readonly key: string
  /** Under which is remembered that its response could not be shared. */
  readonly mark: string
  readonly url: string
  /** Milliseconds since the epoch. */
  readonly requestTime: number
  /** Stored response whose validators the request carries. */
  readonly validating: Entry | undefined
  /** Stored part that the request asks for the rest of. */
  readonly completing: Entry | undefined
  /** Stored response that may be used in place of a failure. */
  readonly stale: Entry | undefined
  readonly background: boolean
  /** Others may join it. */
  readonly shared: boolean
  /** Purges that were known when it began. */
  readonly purges: number
}

/**
 * One fetch by a route's handler, shared by all who want its response: it runs apart from any client's connection, keeps what came
 * as long as somebody may still join, and is held back when its slowest reader is.
 */
export class Flight implements ResponseSink {
  readonly plan: FlightPlan
  readonly #controller: Controller
  /** The request that the flight was made for; `undefined` once it has left, or in the background. */
  leader: Passenger | undefined
  /** While it is under way: on whose behalf, and where it goes. */
  fetch: Fetch | undefined
  response: DetachedResponse | undefined
  status = 0
  reason = ''
  fields: string[] = []
  responseTime = 0
  outcome: Outcome | undefined
  /** The handler failed, rather than that the origin answered. */
  failed = false
  /** The resource was purged or changed since the request was sent: the response answers who asked, and nobody later. */
  outdated = false
  /** It goes on when nobody waits for it any more. */
  kept = false
  entry: Entry | undefined
  /** Why nothing is stored; '' when something is. */
  refusal = ''
  writer: EntryWriter | undefined
  /** The right to fetch, of a store that is shared. */
  claim: Claim | undefined
  /** Keep the whole body for late joiners while it is at most this long. */
  retain = 0
  ended = false
  broken = false
  #discarded = false
  #size = 0
  #expected = -1
  #chunks: Buffer[] = []
  /** Number of the first chunk kept; above 0 nobody can join any more. */
  #base = 0
  #kept = 0
  readonly #passengers: Few<Passenger> = new Few()
  readonly #readers: Few<Reader> = new Few()
  #parked: Few<Parked> | undefined
  #writerBlocked = false
  #before: Buffer | undefined

  constructor (plan: FlightPlan, controller: Controller) {
    this.plan = plan
    this.#controller = controller
  }

  get joinable (): boolean {
    return !this.broken && !this.ended && !this.outdated && !this.#discarded && this.#base === 0 &&
      (this.outcome === undefined || (this.outcome.kind === 'stream' && this.outcome.shared))
  }

  get idle (): boolean {
    return this.#readers.size === 0 && this.#passengers.size === 0
  }

  // What the handler answers.

  onInterim (status: number, headers: Record<string, string | string[]>): void {
    if (this.outcome !== undefined) return
    for (const passenger of this.#passengers.list()) passenger.interim(status, headers)
  }

  onHead (status: number, reason: string, fields: string[]): void {
    this.status = status
    this.reason = reason
    this.fields = fields
    for (let i = 0; i < fields.length; i += 2) {
      if (fields[i]!.length === 14 && fields[i]!.toLowerCase() === 'content-length' && /^\d+$/.test(fields[i + 1]!)) this.#expected = Number(fields[i + 1])
    }
    this.#controller.onHead(this)
  }

  /** Length of the body where the head told it; −1 otherwise. */
  get expected (): number { return this.#expected }

  onData (chunk: Buffer): boolean {
    if (this.#discarded || this.broken) return true
    this.#size += chunk.length
    this.#take(chunk)
    return !this.#full()
  }

  onEnd (): void {
    if (this.ended || this.broken) return
    // A body that is not as long as it said is not the whole (RFC 9112 8): it is neither stored nor passed on as if it were.
    const bodyless = this.response?.req.method === 'HEAD' || this.status === 304 || this.status === 204
    if (!this.#discarded && !bodyless && this.#expected !== -1 && this.#size !== this.#expected) return this.onAbort(new Error('the body is not as long as its Content-Length'))
    this.ended = true
    for (const reader of this.#readers.list()) this.#pump(reader)
    this.#controller.onEnd(this, true)
  }

  onAbort (error: Error | undefined): void {
    if (this.ended || this.broken) return
    this.broken = true
    const reason = error ?? new BrokenOffError()
    for (const reader of this.#readers.list()) if (this.#leave(reader)) reader.output?.fail(reason)
    this.#failParked(reason)
    this.#chunks = []
    this.#controller.onEnd(this, false)
  }

  // What the controller and the clients do.

  settle (outcome: Outcome): void {
    this.outcome = outcome
    for (const passenger of this.#passengers.take()) passenger.settled(this, outcome)
  }

  /** From now on it hears what becomes of the flight. */
  join (passenger: Passenger): void {
    this.#passengers.add(passenger)
  }

  /** It does not want to know any more. */
  leave (passenger: Passenger): void {
    this.#passengers.delete(passenger)
  }

  /** Some get an outcome of their own, and it goes on for the others. Gives whether there were any. */
  part (outcome: Outcome, whose: (passenger: Passenger) => boolean): boolean {
    const parting = this.#passengers.list().filter(whose)
    for (const passenger of parting) {
      this.leave(passenger)
      passenger.settled(this, outcome)
      if (this.leader === passenger) this.leader = undefined
    }
    return parting.length > 0
  }

  /** Turns the rest of a stored part into the complete response: with that part's bytes before those that come. */
  become (status: number, reason: string, fields: string[], before: Buffer): void {
    this.status = status
    this.reason = reason
    this.fields = fields
    this.#before = before
    if (this.#expected !== -1) this.#expected += before.length
  }

  /** The writer is in place: what was there before the first byte came goes to it. */
  begin (): void {
    const before = this.#before
    if (before === undefined) return
    this.#before = undefined
    this.#size += before.length
    this.#take(before)
  }

  /** Nobody gets this response; its rest is not waited for where it has one. */
  discard (): void {
    this.#discarded = true
    this.#chunks = []
    if (this.status !== 304) this.response?.abandon()
  }

  /** Writes the body, or a part of it, from its first byte on, to an output; returns how to stop. */
  read (open: (drained: () => void) => Output, skip: number = 0, length: number = Number.POSITIVE_INFINITY): () => void {
    const reader: Reader = { output: undefined, at: 0, offset: 0, skip, left: length, blocked: false, parked: undefined, gone: false }
    this.#readers.add(reader)
    reader.output = open(() => {
      if (reader.parked !== undefined) return reader.parked.drained()
      reader.blocked = false
      this.#pump(reader)
      this.#relieve()
    })
    this.#pump(reader)
    this.#relieve()
    return () => {
      this.#leave(reader)
      reader.parked?.stop()
      this.#relieve()
    }
  }

  /** All is stored: those who were too slow for the others get the rest from there. Without `read` it is not, and they cannot. */
  stored (size: number, read: ReadStored | undefined): void {
    if (read === undefined) return this.#failParked(new Error('the body was not stored'))
    for (const parked of this.#parked?.take() ?? []) parked.resume(size, read)
  }

  writerDrained (): void {
    this.#writerBlocked = false
    this.#relieve()
  }

  #take (chunk: Buffer): void {
    this.#chunks.push(chunk)
    this.#kept += chunk.length
    const { writer } = this
    if (writer !== undefined) {
      if (!writer.write(chunk)) this.#writerBlocked = true
      if (!writer.alive) this.#unstored(writer)
    }
    for (const reader of this.#readers.list()) this.#pump(reader)
    this.#park()
    this.#trim()
  }

  #pump (reader: Reader): void {
    const { output } = reader
    if (output === undefined || reader.gone) return
    while (!reader.blocked && reader.left > 0 && reader.at < this.#base + this.#chunks.length) {
      let chunk = this.#chunks[reader.at - this.#base]!
      reader.at++
      reader.offset += chunk.length
      if (reader.skip > 0) {
        const cut = Math.min(reader.skip, chunk.length)
        reader.skip -= cut
        chunk = chunk.subarray(cut)
      }
      if (chunk.length > reader.left) chunk = chunk.subarray(0, reader.left)
      reader.left -= chunk.length
      if (chunk.length > 0) reader.blocked = !output.write(chunk)
    }
    if (reader.left === 0 || (this.ended && reader.at === this.#base + this.#chunks.length)) {
      if (this.#leave(reader)) output.end()
    }
  }

  /** It will not be stored after all: nobody who comes later can have it. */
  #unstored (writer: EntryWriter): void {
    writer.abort()
    this.writer = undefined
    this.#writerBlocked = false
    this.retain = 0
    this.#failParked(new Error('the body was not stored'))
    if (this.idle) this.#controller.left(this)
  }

  /** Of readers who share what is being stored, one that takes nothing does not hold the others back: it goes on from the store. */
  #park (): void {
    if (this.writer === undefined || this.ended || this.#kept <= this.retain + WINDOW) return
    let hungry = false
    for (const { at, blocked } of this.#readers.list()) hungry ||= !blocked && at === this.#base + this.#chunks.length
    if (!hungry) return
    for (const reader of this.#readers.list()) {
      if (!reader.blocked || this.#size - reader.offset <= this.retain) continue
      reader.parked = new Parked(reader.output!, reader.offset + reader.skip, reader.left)
      this.#parked ??= new Few()
      this.#parked.add(reader.parked)
      this.#leave(reader)
    }
  }

  #failParked (error: Error): void {
    for (const parked of this.#parked?.take() ?? []) parked.fail(error)
  }

  /** False when it was none of the readers any more. */
  #leave (reader: Reader): boolean {
    reader.gone = true
    return this.#readers.delete(reader)
  }

  /** Lets go of what all have, once there is too much to keep for those who might come. */
  #trim (): void {
    if (this.outcome === undefined || this.#kept <= this.retain) return
    let least = this.#base + this.#chunks.length
    for (const { at } of this.#readers.list()) if (at < least) least = at
    while (this.#base < least) {
      this.#kept -= this.#chunks.shift()!.length
      this.#base++
    }
  }

  #full (): boolean {
    return this.#writerBlocked || this.#kept > this.retain + WINDOW
  }

  #relieve (): void {
    this.#park()
    this.#trim()
    if (!this.#full()) this.response?.drained()
  }
}
