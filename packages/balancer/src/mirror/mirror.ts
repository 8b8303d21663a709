import {
  type ComparisonMessage, type Deadline, type Deadlines, type Lease, type MirrorMessage, PassingSet, type Pool, type Random, channels
} from '@headgate/core'
import type { FastifyRequest } from 'fastify'
import type { RouteSettings } from '../options.ts'
import { parsedBody } from '../parsed-body.ts'
import { awaitsBody } from '../request-body.ts'
import { upgradeOf } from '../upgrade.ts'
import { Comparer, type Verdict } from './compare.ts'
import { Copy } from './copy.ts'
import type { MirrorOptions } from './options.ts'

/** What became of the copies so far, and of their comparisons. */
export type MirrorCounts = Readonly<Record<MirrorMessage['result'] | ComparisonMessage['result'], number>>

/** Sends a share of a route's requests to a shadow pool as well. Nobody waits for it, and it holds no more than its bounds allow. */
export class Mirror {
  /** The shadow. */
  readonly pool: Pool
  readonly bodyLimit: number
  readonly #share: number
  readonly #methods: ReadonlySet<string> | undefined
  readonly #maxInFlight: number
  readonly #timeout: number
  readonly #mark: string
  readonly #comparer: Comparer | undefined
  readonly #random: Random
  readonly #deadlines: Deadlines
  readonly #running = new PassingSet<Copy>()
  readonly #counts: Record<keyof MirrorCounts, number> = { answered: 0, failed: 0, 'timed-out': 0, dropped: 0, same: 0, different: 0, skipped: 0 }

  constructor (options: MirrorOptions, pool: Pool, random: Random, deadlines: Deadlines) {
    this.pool = pool
    this.bodyLimit = options.bodyLimit ?? 65_536
    this.#share = options.share ?? 1
    this.#methods = options.methods && new Set(options.methods)
    this.#maxInFlight = options.maxInFlight ?? 100
    this.#timeout = options.timeout ?? 10_000
    this.#mark = options.mark ?? 'x-mirrored'
    const { compare = false } = options
    this.#comparer = compare === false ? undefined : new Comparer(compare === true ? {} : compare)
    this.#random = random
    this.#deadlines = deadlines
  }

  /** Copies that run, or wait for an answer to compare theirs with. */
  get running (): number { return this.#running.size }
  get counts (): MirrorCounts { return { ...this.#counts } }
  get compareLimit (): number { return this.#comparer!.bodyLimit }

  /** The copy of a request that is about to be forwarded; `undefined`: it gets none. */
  take (request: FastifyRequest, settings: RouteSettings, target: string): Copy | undefined {
    const { raw } = request
    if (this.#methods?.has(request.method) === false || (this.#share < 1 && this.#random() >= this.#share) || upgradeOf(raw) !== undefined) return undefined
    const body = parsedBody(request)
    const awaited = body === null && awaitsBody(raw)
    const length = body?.length ?? (awaited ? Number(raw.headers['content-length'] ?? 0) : 0)
    const refused = this.#running.size >= this.#maxInFlight ? 'busy' : length > this.bodyLimit ? 'body-too-large' : ''
    if (refused !== '') {
      this.report('dropped', refused, undefined)
      return undefined
    }
    const compared = this.#comparer !== undefined && (this.#comparer.share === 1 || this.#random() < this.#comparer.share)
    const copy = new Copy(this, request, settings, target, body, awaited, compared)
    this.#running.add(copy)
    copy.listen()
    return copy
  }

  /** Ends all that runs. */
  stop (): void {
    for (const copy of this.#running.list()) copy.stop()
  }

  // What copies call.

  now (): number { return this.#deadlines.now() }

  limit (copy: Deadline): void {
    this.#deadlines.schedule(copy, this.now() + this.#timeout)
  }

  /** Says in a copy's fields that it is one; what the client said of that does not count. */
  mark (headers: string[]): void {
    const name = this.#mark
    if (name === '') return
    for (let i = headers.length - 2; i >= 0; i -= 2) if (headers[i]!.toLowerCase() === name.toLowerCase()) headers.splice(i, 2)
    headers.push(name, '1')
  }

  report (result: MirrorMessage['result'], reason: string, lease: Lease | undefined): void {
    this.#counts[result]++
    const { pool } = this
    if (!channels.mirror.hasSubscribers && pool.listenerCount('mirrored') === 0) return
    const message: MirrorMessage = {
      pool: pool.name, upstream: lease?.upstream.id ?? '', url: lease?.upstream.url ?? '', result, reason, status: lease?.status ?? 0,
      duration: lease === undefined ? 0 : lease.endedAt - lease.startedAt, source: pool
    }
    if (channels.mirror.hasSubscribers) channels.mirror.publish(message)
    pool.emit('mirrored', message)
  }

  ended (copy: Copy): void {
    this.#deadlines.cancel(copy)
    this.#running.delete(copy)
  }

  /** Compares when the client's answer is on its way: this is called in the middle of that. */
  judge (copy: Copy): void {
    this.#deadlines.cancel(copy)
    setImmediate(() => {
      void this.#comparer!.compare(copy.primary!, copy.shadow!).then((verdict) => {
        this.#tell(copy, verdict)
        this.ended(copy)
      })
    })
  }

  #tell ({ request, target, primary, shadow }: Copy, { skipped, found }: Verdict): void {
    const { pool } = this
    const result = found.count > 0 ? 'different' : skipped === '' ? 'same' : 'skipped'
    this.#counts[result]++
    const message: ComparisonMessage = {
      pool: pool.name, route: request.routeOptions.url ?? '', requestId: request.id, method: request.method, path: target, result,
      reason: result === 'skipped' ? skipped : '', differences: found.list, count: found.count, primaryStatus: primary!.status, shadowStatus: shadow!.status,
      primaryLatency: primary!.latency, shadowLatency: shadow!.latency, source: pool
    }
    if (channels.comparison.hasSubscribers) channels.comparison.publish(message)
    pool.emit('compared', message)
    if (result !== 'different') return
    const { differences, count, primaryStatus, shadowStatus } = message
    request.log.warn({ shadow: pool.name, differences, count, primaryStatus, shadowStatus }, 'the shadow answered otherwise')
  }
}

/** Makes a route's mirror. Throws `HG_BALANCER_INVALID_OPTION` for `path`. */
export type MirrorMaker = (options: MirrorOptions, path: string) => Mirror
