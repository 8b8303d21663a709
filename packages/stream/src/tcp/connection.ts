import type { Socket } from 'node:net'
import {
  type AffinityHint, channels, connectFailure, Deadline, Flow, type FlowOwner, hash32, hashAddress, isUnreached, type Lease, NO_SOCKETS, type Outcome,
  type Pool, type PoolWaiter, type Ticket, type Upstream
} from '@headgate/core'
import type { StreamTransport } from '../transport.ts'
import { dial } from './dial.ts'
import { ClientInfo, Entry, type EntryOwner, PREREAD } from './entry.ts'
import type { Exit, TcpListener } from './listener.ts'
import { adopt, reset } from './socket.ts'

type State = 'entering' | 'queued' | 'connecting' | 'open' | 'ended'

/** One client's connection, from its accept to its end: which upstream it gets, and what passes between them. */
export class Connection extends Deadline implements EntryOwner, FlowOwner, PoolWaiter {
  readonly info: ClientInfo
  /** The address that limits are counted by: the socket's own, whatever a header says. */
  readonly peer: string
  readonly startedAt: number
  attempts = 0
  readonly affinity: AffinityHint | undefined = undefined
  readonly clientLocation: undefined = undefined
  readonly repeatable = true

  readonly #owner: TcpListener
  #client: Socket
  readonly #up: Flow
  #down: Flow | undefined
  #upstream: Socket | undefined
  #state: State = 'entering'
  readonly #entry: Entry
  #exit: Exit | undefined
  /** What the client sent before an upstream was there, or answered: for the next upstream if this one dies at once. */
  #first: Buffer[] | undefined = []
  #firstBytes = 0
  #clientEnded = false
  #upstreamEnded = false
  readonly #tried: Upstream[] = []
  #retries = 0
  /** Upstreams passed over: where nobody else is left, whom it did not reach either is not asked again as well. */
  #passed = 0
  #lease: Lease | undefined
  #ticket: Ticket | undefined
  #openedAt = 0
  #proven = false
  #keyHash = -1
  #error = ''

  /** Takes an accepted socket over. `undefined`: the client is gone. */
  static accept (owner: TcpListener, accepted: Socket): Connection | undefined {
    const info = new ClientInfo(owner.name, accepted)
    const connection: Connection = new Connection(owner, info, accepted)
    return connection.#adopted ? connection : undefined
  }

  readonly #adopted: boolean

  private constructor (owner: TcpListener, info: ClientInfo, accepted: Socket) {
    super()
    this.#owner = owner
    this.info = info
    this.peer = info.clientAddress
    this.startedAt = owner.environment.clock.now()
    this.#up = new Flow(this, owner.deadlines, owner.buffers, owner.meters('upload'))
    const adopted = adopt(accepted, this.#up.onread)
    this.#adopted = adopted !== undefined
    this.#client = adopted?.socket ?? accepted
    this.#entry = new Entry(owner, this, info, this.#client)
    if (adopted === undefined) return
    this.#up.from(adopted.socket, adopted.direct)
    this.#listen(adopted.socket)
  }

  /** What a pool's `hashOn` says; without it, the client's address. */
  get keyHash (): number {
    if (this.#keyHash === -1) {
      const hashOn = this.#exit?.pool.settings.hashOn
      const key = typeof hashOn === 'function' ? hashOn(this.info as never) : ''
      this.#keyHash = key === '' ? hashAddress(this.info.clientAddress) : hash32(key)
    }
    return this.#keyHash
  }

  get clientAddress (): string { return this.info.clientAddress }
  get context (): this { return this }
  get connecting (): boolean { return this.#state === 'connecting' }

  hasTried (upstream: { readonly id: string }): boolean {
    return this.#tried.some(({ id }) => id === upstream.id)
  }

  start (): void {
    this.#entry.start(this.peer)
  }

  /** Ends it at once. */
  cut (reason: string): void {
    this.#end(reason, 'shed')
  }

  /** What the client sends before there is an upstream. */
  early (_flow: Flow, chunk: Buffer): boolean {
    const copy = Buffer.from(chunk)
    if (this.#state === 'entering') return this.#entry.take(copy)
    if (this.#state === 'ended') return false
    this.#keep(copy)
    return this.#firstBytes < PREREAD
  }

  /** While nothing has come back, what is sent is kept for another upstream; the first bytes that come back end that. */
  seen (flow: Flow, chunk: Buffer): void {
    if (flow === this.#up) {
      if (this.#firstBytes + chunk.length > this.#owner.settings.replayLimit) this.#settle()
      else this.#keep(Buffer.from(chunk))
    } else {
      flow.watched = false
      this.#settle()
      this.#prove()
    }
  }

  #keep (chunk: Buffer): void {
    this.#first?.push(chunk)
    this.#firstBytes += chunk.length
  }

  /** From here on this upstream or none. */
  #settle (): void {
    this.#first = undefined
    this.#up.watched = false
  }

  entered (exit: Exit, client: Socket, first: Buffer[]): void {
    this.#exit = exit
    this.#first = first
    this.#firstBytes = this.#up.bytes = first.reduce((sum, { length }) => sum + length, 0)
    if (client !== this.#client) {
      this.#client = client
      this.#listen(client)
      this.#up.from(client, false)
    }
    exit.pool.retryBudget.request(this.startedAt)
    this.#seek()
  }

  #seek (): void {
    const { pool } = this.#exit!
    const lease = pool.pick(this)
    if (lease === 'none-ready') return this.#shed(pool, 'none-ready')
    if (lease !== 'saturated') return this.granted(lease)
    this.#state = 'queued'
    this.#ticket = pool.wait(this)
    if (this.#ticket === undefined) this.#shed(pool, 'queue-full')
  }

  granted (lease: Lease): void {
    this.#ticket = undefined
    this.#lease = lease
    const transport = lease.upstream.transport as StreamTransport
    const { settings } = this.#owner
    const down = this.#down = new Flow(this, this.#owner.deadlines, this.#owner.buffers, this.#owner.meters('download'))
    this.#tried.push(lease.upstream)
    this.attempts++
    this.#state = 'connecting'
    this.#owner.deadlines.schedule(this, lease.startedAt + (transport.options.connectTimeout ?? 2000))
    transport.join(this)
    const head = this.#exit!.proxyWriter?.(this.info)
    const { socket, ready, direct } = dial(transport, { noDelay: settings.noDelay, keepAlive: settings.keepAlive, onread: down.onread, head })
    this.#upstream = socket
    down.from(socket, direct)
    // Not flowing before there is somebody to write to: the client is.
    down.to(this.#client)
    this.#error = ''
    socket.once(ready, () => { if (this.#upstream === socket) this.#connected(socket) })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (this.#upstream !== socket) return
      if (this.#state !== 'connecting') this.#error = 'reset'
      else this.#error = connectFailure(error, ready === 'secureConnect')
    })
    socket.on('end', () => { if (this.#upstream === socket) this.#upstreamEnds() })
    socket.on('close', () => { if (this.#upstream === socket) this.#upstreamClosed() })
  }

  /** By its entry, or by the queue. */
  refused (reason: string): void {
    if (this.#state === 'entering') return this.#end(reason)
    this.#ticket = undefined
    this.#shed(this.#exit!.pool, reason as 'queue-timeout' | 'none-ready')
  }

  #shed (pool: Pool, reason: 'queue-full' | 'queue-timeout' | 'none-ready'): void {
    if (channels.shed.hasSubscribers) channels.shed.publish({ pool: pool.name, reason, source: pool })
    this.#end(reason)
  }

  #connected (upstream: Socket): void {
    const { settings, environment } = this.#owner
    const lease = this.#lease!
    const now = this.#openedAt = environment.clock.now()
    lease.head(0, now)
    ;(lease.upstream.transport as StreamTransport).connected(now - lease.startedAt)
    this.#state = 'open'
    this.#up.to(upstream)
    let goOn = true
    for (const chunk of this.#first!) goOn = this.#up.write(chunk)
    if (settings.replayLimit === 0 || settings.replayWithin === 0 || this.#firstBytes > settings.replayLimit) this.#settle()
    if (this.#clientEnded) upstream.end()
    else if (goOn) this.#up.resume()
    this.#schedule(now)
  }

  /** What has to be looked at next, while it is open. */
  #schedule (now: number): void {
    const { idleTimeout, maxConnectionAge, replayWithin } = this.#owner.settings
    const active = Math.max(this.#up.active, this.#down!.active)
    let at = active + idleTimeout
    if (maxConnectionAge > 0) at = Math.min(at, this.startedAt + maxConnectionAge)
    if (!this.#proven) at = Math.min(at, this.#openedAt + replayWithin)
    this.#owner.deadlines.schedule(this, Math.max(at, now))
  }

  /** The upstream is what it should be: it answered, or has held the connection for a while. */
  #prove (): void {
    if (this.#proven) return
    this.#proven = true
    this.#lease?.prove()
  }

  expired (now: number): void {
    const { settings } = this.#owner
    if (this.#state === 'connecting') return this.#failed('connect-timeout', 'failed-before-send')
    if (now >= this.#openedAt + settings.replayWithin) {
      this.#settle()
      this.#prove()
    }
    if (settings.maxConnectionAge > 0 && now >= this.startedAt + settings.maxConnectionAge) return this.#end('max-age', 'ok')
    if (now >= Math.max(this.#up.active, this.#down!.active) + settings.idleTimeout) {
      return this.#end('idle-timeout', this.#up.bytes > 0 && this.#down!.bytes === 0 ? 'timed-out' : 'ok')
    }
    this.#schedule(now)
  }

  /** The attempt failed: another upstream, or the end. */
  #failed (reason: string, outcome: Outcome): void {
    const { pool } = this.#exit!
    const { counters, settings } = this.#owner
    counters.failed(reason)
    this.#dismiss(outcome, reason)
    const unreached = isUnreached(reason)
    const passes = settings.retries > 0 && unreached && pool.passesOver(this)
    if (!passes && this.#retries + (unreached ? this.#passed : 0) >= settings.retries) return this.#end(reason)
    if (passes) this.#passed++
    else this.#retries++
    // Where no connection came about, another attempt multiplies nobody's load.
    const refused = outcome !== 'failed-before-send' && !pool.retryBudget.take()
    if (channels.retry.hasSubscribers) channels.retry.publish({ pool: pool.name, reason: refused ? 'budget' : reason, refused, source: pool })
    if (refused) this.#end(reason)
    else this.#seek()
  }

  /** Parts with the upstream. */
  #dismiss (outcome: Outcome, reason: string): void {
    const upstream = this.#upstream
    const lease = this.#lease
    this.#upstream = this.#lease = undefined
    this.#owner.deadlines.cancel(this)
    this.#up.detach()
    this.#down?.detach()
    if (upstream !== undefined) {
      if (outcome === 'aborted') reset(upstream)
      else upstream.destroy()
    }
    this.#down?.close()
    if (lease === undefined) return
    ;(lease.upstream.transport as StreamTransport).leave(this)
    lease.sent = this.#up.bytes
    lease.received = this.#down?.bytes ?? 0
    lease.release(outcome, reason)
  }

  /** May this connection start anew with another upstream? */
  get #renewable (): boolean {
    const { replayWithin, replayLimit } = this.#owner.settings
    return this.#first !== undefined && this.#down!.bytes === 0 && this.#up.bytes <= replayLimit && !this.#client.destroyed &&
      this.#owner.environment.clock.now() < this.#openedAt + replayWithin
  }

  #upstreamEnds (): void {
    // Accepted, and closed without having heard or said anything: as good as refused. With bytes sent, it is an answer.
    if (this.#state === 'open' && this.#renewable && this.#up.bytes === 0 && !this.#clientEnded) {
      this.#state = 'connecting'
      this.#failed('closed', 'failed-after-send')
    } else if (this.#state === 'open') {
      this.#upstreamEnded = true
      this.#settle()
      this.#client.end()
    }
  }

  #upstreamClosed (): void {
    if (this.#error === NO_SOCKETS) {
      this.#owner.counters.failed(NO_SOCKETS)
      return this.#end(NO_SOCKETS, 'shed')
    }
    if (this.#state === 'connecting') return this.#failed(this.#error || 'closed', 'failed-before-send')
    if (this.#state !== 'open') return
    if (this.#error === '') {
      if (this.#client.destroyed) this.#end('closed', 'ok')
      return
    }
    if (this.#renewable) {
      this.#state = 'connecting'
      return this.#failed(this.#error, 'failed-after-send')
    }
    reset(this.#client)
    // Data for one who has said its last word is refused with a reset: no failure of its.
    if (this.#upstreamEnded) return this.#end('closed', 'ok')
    this.#owner.counters.failed(this.#error)
    this.#end('upstream-reset', 'failed-after-send')
  }

  #listen (client: Socket): void {
    client.on('error', () => { if (this.#client === client) this.#clientClosed(true) })
    client.on('end', () => { if (this.#client === client) this.#clientEnds() })
    client.on('close', (hadError) => { if (this.#client === client) this.#clientClosed(hadError) })
  }

  #clientEnds (): void {
    this.#clientEnded = true
    if (this.#state === 'entering') this.#entry.ended()
    else if (this.#state === 'open') this.#upstream!.end()
  }

  #clientClosed (hadError: boolean): void {
    if (this.#state === 'ended') return
    if (this.#state !== 'open' || hadError) return this.#end(this.#state === 'open' ? 'client-reset' : 'client-closed', 'aborted')
    if (this.#upstream!.destroyed) this.#end('closed', 'ok')
  }

  #end (reason: string, outcome: Outcome = 'aborted'): void {
    if (this.#state === 'ended') return
    this.#state = 'ended'
    this.#owner.deadlines.cancel(this)
    this.#entry.cancel()
    this.#ticket?.leave()
    const upstream = this.#tried.at(-1)
    const lease = this.#lease
    const received = this.#down?.bytes ?? 0
    const connectLatency = lease !== undefined && lease.headAt >= 0 ? lease.headAt - lease.startedAt : -1
    this.#dismiss(outcome, reason === 'closed' ? '' : reason)
    this.#first = undefined
    this.#up.close()
    if (!this.#client.destroyed) this.#client.destroy()
    this.#owner.ended(this, {
      pool: this.#exit?.pool.name ?? '', upstream: upstream?.id ?? '', url: upstream?.url ?? '', reason,
      sent: this.#up.bytes, received, connectLatency, attempts: this.attempts
    })
  }
}
