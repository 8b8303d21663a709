import { type Attempt, type AttemptHandler, type PoolKind, type Target, type Transport, TransportError, type TransportOptions, type TransportRequest, type TransportStats, parseStreamTarget, refuse } from '@headgate/core'

/** A connection or session that an upstream has. */
export interface Member {
  /** Is still being set up. */
  readonly connecting: boolean
  /** Ends it at once, with this reason. */
  cut (reason: string): void
}

/** Which connections and sessions an upstream of a layer 4 pool has: what draining waits for and removing cuts. */
export class StreamTransport implements Transport {
  readonly target: Target
  readonly options: TransportOptions
  /** The last TLS session: the next handshake is shorter with it. */
  session: Buffer | undefined
  /** Hears of each connection that was opened, after `latency` ms. */
  readonly connected: (latency: number) => void
  readonly #members = new Set<Member>()
  #emptied: (() => void)[] = []

  constructor (target: Target, options: TransportOptions, connected: (latency: number) => void) {
    this.target = target
    this.options = options
    this.connected = connected
  }

  join (member: Member): void {
    this.#members.add(member)
  }

  leave (member: Member): void {
    if (!this.#members.delete(member) || this.#members.size > 0) return
    for (const resolve of this.#emptied) resolve()
    this.#emptied = []
  }

  /** Ends all of them at once. */
  cut (reason: string): void {
    for (const member of this.#members) member.cut(reason)
  }

  get stats (): TransportStats {
    let connecting = 0
    for (const member of this.#members) if (member.connecting) connecting++
    return { open: this.#members.size - connecting, idle: 0, connecting }
  }

  dispatch (_request: TransportRequest, handler: AttemptHandler): Attempt {
    queueMicrotask(() => { handler.onError(new TransportError('destroyed', 'connect', `${this.target.href} is of a layer 4 pool, which speaks no HTTP`)) })
    return { write: () => true, end () {}, resume () {}, abort () {} }
  }

  async close (): Promise<void> {
    if (this.#members.size > 0) await new Promise<void>((resolve) => { this.#emptied.push(resolve) })
  }

  destroy (): void {
    this.cut('upstream-removed')
  }
}

function kind (udp: boolean): PoolKind {
  return {
    scheme: udp ? 'udp' : 'tcp',
    parseTarget (text, path) {
      const target = parseStreamTarget(text, path)
      if ((target.protocol === 'udp:') !== udp) refuse(path, udp ? 'must be udp://host:port, as the others of the pool' : 'must not be udp:// in a pool for TCP', text)
      return target
    },
    createTransport (app, target, options, _clock, connected, protocol) {
      if (protocol !== 'h1') refuse(`upstream '${target.href}' protocol`, 'must not be given: layer 4 passes bytes on, whatever they are', protocol)
      if (app !== undefined) refuse(`upstream '${target.href}'`, 'layer 4 has no in-process upstreams', app)
      return new StreamTransport(target, options, connected)
    }
  }
}

/** Pools of TCP and Unix sockets, with or without TLS. */
export const tcpPool: PoolKind = kind(false)
/** Pools for UDP. */
export const udpPool: PoolKind = kind(true)
