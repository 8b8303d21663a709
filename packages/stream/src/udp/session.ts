import { createSocket, type Socket } from 'node:dgram'
import { isIP } from 'node:net'
import {
  type AffinityHint, channels, Deadline, hash32, hashAddress, isOwnFault, type Lease, NO_SOCKETS, type Outcome, type PoolContext, plainAddress, type Upstream
} from '@headgate/core'
import type { StreamInfo } from '../tcp/routes.ts'
import type { StreamTransport } from '../transport.ts'
import type { UdpListener } from './listener.ts'

/** Datagrams that wait while the upstream's name is looked up. */
const WAITING = 16

/** An address needs no lookup, and without one a datagram goes out in the same turn. */
export const noLookup = (address: string, _options: unknown, callback: (error: null, address: string, family: number) => void): void => {
  callback(null, address, isIP(address))
}

/**
 * What one client, by address and port, has with one upstream. It has a socket of its own, connected to the upstream: the system
 * lets nobody else's datagrams in, and tells of ICMP errors.
 */
export class Session extends Deadline implements PoolContext, StreamInfo {
  readonly address: string
  readonly port: number
  older: Session | undefined
  newer: Session | undefined

  readonly listener: string
  readonly clientAddress: string
  readonly clientPort: number
  readonly serverName = ''
  readonly alpn: readonly string[] = []
  readonly affinity: AffinityHint | undefined = undefined
  readonly clientLocation: undefined = undefined
  readonly repeatable = true
  attempts = 0
  readonly startedAt: number
  sent = 0
  received = 0

  readonly #owner: UdpListener
  readonly #tried: Upstream[] = []
  #retries = 0
  /** Upstreams passed over: where nobody else is left, whom it did not reach either is not asked again as well. */
  #passed = 0
  #keyHash = -1
  #socket: Socket | undefined
  #lease: Lease | undefined
  #connected = false
  #ended = false
  #active: number
  /** Answers that are still expected, where they are counted. */
  #expected = 0
  /** Datagrams to be sent when there is an upstream; while none has answered, the last one for another upstream. */
  #waiting: Buffer[] = []

  constructor (owner: UdpListener, address: string, port: number) {
    super()
    this.#owner = owner
    this.listener = owner.name
    this.address = address
    this.port = port
    this.clientAddress = plainAddress(address)
    this.clientPort = port
    this.startedAt = this.#active = owner.environment.clock.now()
  }

  get keyHash (): number {
    if (this.#keyHash === -1) {
      const { hashOn } = this.#owner.pool.settings
      const key = typeof hashOn === 'function' ? hashOn(this as never) : ''
      this.#keyHash = key === '' ? hashAddress(this.clientAddress) : hash32(key)
    }
    return this.#keyHash
  }

  get connecting (): boolean { return !this.#connected }
  /** Counted answers are still expected. */
  get busy (): boolean { return this.#owner.settings.responses !== undefined && this.#expected > 0 }

  hasTried (upstream: { readonly id: string }): boolean {
    return this.#tried.some(({ id }) => id === upstream.id)
  }

  cut (reason: string): void {
    this.end(reason, 'shed')
  }

  /** A datagram from the client; the buffer is its own. */
  fromClient (datagram: Buffer): void {
    const { responses } = this.#owner.settings
    this.#active = this.#owner.environment.clock.now()
    this.sent += datagram.length
    if (responses !== undefined) this.#expected += responses
    if (this.#connected) {
      if (this.received === 0) this.#keep(datagram)
      this.#send(datagram)
      if (responses === 0) this.end('closed', 'ok')
    } else {
      this.#keep(datagram)
      if (this.#socket === undefined) this.#seek()
    }
  }

  #keep (datagram: Buffer): void {
    if (this.#connected) this.#waiting = [datagram]
    else if (this.#waiting.length < WAITING) this.#waiting.push(datagram)
  }

  #seek (): void {
    const { pool } = this.#owner
    const lease = pool.pick(this)
    if (typeof lease === 'string') {
      const reason = lease === 'saturated' ? 'queue-full' : lease
      if (channels.shed.hasSubscribers) channels.shed.publish({ pool: pool.name, reason, source: pool })
      return this.end(reason, 'shed')
    }
    this.#lease = lease
    this.#tried.push(lease.upstream)
    this.attempts++
    const transport = lease.upstream.transport as StreamTransport
    transport.join(this)
    const { addresses, port } = transport.target
    const hostname = addresses?.[0] ?? transport.target.hostname
    const family = isIP(hostname)
    const options = { type: hostname.includes(':') ? 'udp6' as const : 'udp4' as const }
    const socket = this.#socket = createSocket(family === 0 ? options : { ...options, lookup: noLookup as never })
    socket.on('message', (datagram) => { if (this.#socket === socket) this.#fromUpstream(datagram) })
    socket.on('error', (error: NodeJS.ErrnoException) => { if (this.#socket === socket) this.#failed(error) })
    socket.on('connect', () => { if (this.#socket === socket) this.#open() })
    socket.connect(port, hostname)
    this.#owner.deadlines.schedule(this, this.#active + this.#owner.settings.idleTimeout)
  }

  #open (): void {
    this.#connected = true
    const waiting = this.#waiting
    for (const datagram of waiting) {
      this.#send(datagram)
      if (this.#ended) return
    }
    this.#waiting = waiting.slice(-1)
    if (this.#owner.settings.responses === 0) this.end('closed', 'ok')
  }

  #send (datagram: Buffer): void {
    // The callback costs a turn, but before the first answer an error may be told only here.
    if (this.received > 0) this.#socket!.send(datagram)
    else this.#socket!.send(datagram, this.#sentFirst)
  }

  readonly #sentFirst = (error: Error | null): void => {
    if (error !== null && this.received === 0 && this.#connected && !this.#ended) this.#failed(error)
  }

  #fromUpstream (datagram: Buffer): void {
    const { environment, settings } = this.#owner
    this.#active = environment.clock.now()
    if (this.received === 0) {
      this.#waiting = []
      const lease = this.#lease!
      lease.head(0, this.#active)
      lease.prove()
      ;(lease.upstream.transport as StreamTransport).connected(this.#active - lease.startedAt)
    }
    this.received += datagram.length
    this.#owner.answer(this, datagram)
    if (settings.responses !== undefined && --this.#expected <= 0) this.end('closed', 'ok')
  }

  /** An ICMP error, or a name that is not known. */
  #failed (error: NodeJS.ErrnoException): void {
    const { pool, counters, settings } = this.#owner
    if (isOwnFault(error)) {
      counters.failed(NO_SOCKETS)
      this.end(NO_SOCKETS, 'shed')
      return this.#owner.makeRoom()
    }
    const reason = error.code === 'ECONNREFUSED' ? 'unreachable' : error.syscall === 'getaddrinfo' ? 'dns' : 'failed'
    const answered = this.received > 0
    counters.failed(reason)
    this.#dismiss(this.#connected ? 'failed-after-send' : 'failed-before-send', reason)
    // What was not answered goes to another upstream; else the client's next datagram does.
    const unreached = reason === 'unreachable'
    const passes = unreached && settings.retries > 0 && pool.passesOver(this)
    const over = !passes && this.#retries + (unreached ? this.#passed : 0) >= settings.retries
    if (answered || this.#waiting.length === 0 || over) return this.end(reason, 'failed-after-send')
    if (passes) this.#passed++
    else this.#retries++
    const refused = !unreached && !pool.retryBudget.take()
    if (channels.retry.hasSubscribers) channels.retry.publish({ pool: pool.name, reason: refused ? 'budget' : reason, refused, source: pool })
    if (refused) this.end(reason, 'failed-after-send')
    else this.#seek()
  }

  expired (now: number): void {
    const until = this.#active + this.#owner.settings.idleTimeout
    if (now < until) return this.#owner.deadlines.schedule(this, until)
    const silent = this.received === 0 && this.busy
    this.end(silent ? 'no-answer' : 'idle-timeout', silent ? 'timed-out' : 'ok')
  }

  #dismiss (outcome: Outcome, reason: string): void {
    const socket = this.#socket
    const lease = this.#lease
    this.#socket = this.#lease = undefined
    this.#connected = false
    this.#owner.deadlines.cancel(this)
    socket?.close()
    if (lease === undefined) return
    ;(lease.upstream.transport as StreamTransport).leave(this)
    lease.sent = this.sent
    lease.received = this.received
    lease.release(outcome, reason)
  }

  end (reason: string, outcome: Outcome): void {
    if (this.#ended) return
    this.#ended = true
    const upstream = this.#tried.at(-1)
    const lease = this.#lease
    const connectLatency = lease !== undefined && lease.headAt >= 0 ? lease.headAt - lease.startedAt : -1
    this.#dismiss(outcome, reason === 'closed' ? '' : reason)
    this.#waiting = []
    this.#owner.ended(this, { upstream: upstream?.id ?? '', url: upstream?.url ?? '', reason, connectLatency })
  }
}
