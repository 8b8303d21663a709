import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { getServers } from 'node:dns'
import { connect, isIPv6 } from 'node:net'
import { type Answer, type DecodedPacket, type Packet, type SrvData, decode, encode, RECURSION_DESIRED } from 'dns-packet'
import type { Clock } from '../clock.ts'

export interface DnsClientOptions {
  /** `address` or `address:port`, `[v6]:port`; `undefined`: what the system has configured, read anew for each question. */
  readonly servers: readonly string[] | undefined
  /** Milliseconds for one server's answer. */
  readonly timeout: number
}

export interface DnsAnswer {
  /** Data of the records of the asked type, behind any aliases. Empty for names without such records, and for names that do not exist. */
  readonly records: readonly (string | SrvData)[]
  /** Addresses that came along for the names in SRV records, by name in small letters. */
  readonly addresses: ReadonlyMap<string, readonly string[]>
  /** Seconds that the answer holds, an empty one included (RFC 2308). */
  readonly ttl: number
}

// What passes everywhere without fragments (DNS Flag Day 2020).
const PAYLOAD = 1232
/** Seconds for an empty answer that does not say how long it holds. */
const NEGATIVE = 5
const ROUNDS = 2

/**
 * A stub resolver: Node's own tells no TTL of SRV records, nor of empty answers. It asks one server after the other, over UDP and, where
 * the answer does not fit, over TCP. Names are absolute: no search list, no hosts file.
 */
export class DnsClient {
  readonly #options: DnsClientOptions
  readonly #clock: Clock

  constructor (options: DnsClientOptions, clock: Clock) {
    this.#options = options
    this.#clock = clock
  }

  /** Rejects when no server gave an answer that can be trusted. */
  async ask (name: string, type: 'A' | 'AAAA' | 'SRV', signal: AbortSignal): Promise<DnsAnswer> {
    const servers = this.#options.servers ?? getServers()
    const reasons: string[] = []
    for (let round = 0; round < ROUNDS; round++) {
      for (const server of servers) {
        signal.throwIfAborted()
        try {
          return read(await this.#askOne(server, name, type, signal), type)
        } catch (error) {
          signal.throwIfAborted()
          reasons.push(`${server}: ${(error as Error).message}`)
        }
      }
    }
    throw new Error(`${type} of ${name}: ${[...new Set(reasons)].join('; ') || 'there is no server to ask'}`)
  }

  async #askOne (server: string, name: string, type: 'A' | 'AAAA' | 'SRV', signal: AbortSignal): Promise<DecodedPacket> {
    const question: Packet = {
      type: 'query', id: randomInt(65_536), flags: RECURSION_DESIRED, questions: [{ type, name }],
      additionals: [{ type: 'OPT', name: '.', udpPayloadSize: PAYLOAD, flags: 0, options: [] } as never]
    }
    const [host, port] = addressOf(server)
    const { timeout } = this.#options
    const short = await this.#within(timeout, signal, (done, failed) => overUdp(host, port, encode(question), (data) => accept(data, question, done), failed))
    if (!short.flag_tc) return short
    return this.#within(timeout, signal, (done, failed) => overTcp(host, port, encode(question), (data) => accept(data, question, done), failed))
  }

  /** `begin` gives what ends it. */
  #within (
    ms: number, signal: AbortSignal, begin: (done: (packet: DecodedPacket) => void, failed: (error: Error) => void) => () => void
  ): Promise<DecodedPacket> {
    return new Promise((resolve, reject) => {
      const end = (): void => {
        this.#clock.clearTimeout(timer)
        signal.removeEventListener('abort', stop)
        close()
      }
      const failed = (error: Error): void => {
        end()
        reject(error)
      }
      const stop = (): void => { failed(new Error('not wanted any more')) }
      const timer = this.#clock.setTimeout(() => { failed(new Error(`no answer within ${ms} ms`)) }, ms)
      signal.addEventListener('abort', stop, { once: true })
      const close = begin((packet) => {
        end()
        resolve(packet)
      }, failed)
    })
  }
}

/** Passes on what answers the question; anything else is somebody's guess (RFC 5452 9.1) and is not heard. */
function accept (data: Buffer, question: Packet, done: (packet: DecodedPacket) => void): void {
  let packet: DecodedPacket
  try {
    packet = decode(data)
  } catch {
    return
  }
  const [asked] = question.questions!
  const [answered] = packet.questions ?? []
  if (packet.type !== 'response' || packet.id !== question.id) return
  if (answered !== undefined && (answered.type !== asked!.type || plain(answered.name) !== plain(asked!.name))) return
  done(packet)
}

function overUdp (host: string, port: number, question: Buffer, got: (data: Buffer) => void, failed: (error: Error) => void): () => void {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  let open = true
  // Connected: the system lets nobody else's datagrams in, and tells of a closed port. Its port is a random one.
  socket.on('message', got)
  socket.on('error', failed)
  socket.connect(port, host, () => { if (open) socket.send(question) })
  return () => {
    open = false
    socket.close()
  }
}

function overTcp (host: string, port: number, question: Buffer, got: (data: Buffer) => void, failed: (error: Error) => void): () => void {
  const socket = connect(port, host)
  let data: Buffer = Buffer.alloc(0)
  const length = Buffer.alloc(2)
  length.writeUInt16BE(question.length)
  socket.on('connect', () => { socket.write(Buffer.concat([length, question])) })
  socket.on('data', (chunk: Buffer) => {
    data = Buffer.concat([data, chunk])
    if (data.length >= 2 && data.length >= 2 + data.readUInt16BE()) got(data.subarray(2, 2 + data.readUInt16BE()))
  })
  socket.on('error', failed)
  socket.on('close', () => { failed(new Error('closed without an answer')) })
  return () => {
    socket.removeAllListeners('close')
    socket.destroy()
  }
}

function read (packet: DecodedPacket, type: 'A' | 'AAAA' | 'SRV'): DnsAnswer {
  // dns-packet's types leave the response code out.
  const { rcode } = packet as DecodedPacket & { readonly rcode: string }
  if (rcode !== 'NOERROR' && rcode !== 'NXDOMAIN') throw new Error(`answered ${rcode}`)
  const answers = (packet.answers ?? []) as readonly (Answer & { readonly ttl?: number; readonly data: unknown })[]
  const records: (string | SrvData)[] = []
  const addresses = new Map<string, string[]>()
  let ttl = Infinity
  for (const answer of answers) {
    // An alias that changes changes what is behind it.
    if (answer.type !== type && answer.type !== 'CNAME') continue
    ttl = Math.min(ttl, answer.ttl ?? 0)
    if (answer.type === type) records.push(answer.data as string | SrvData)
  }
  if (records.length === 0) ttl = negative(packet)
  for (const extra of (packet.additionals ?? []) as typeof answers) {
    if (extra.type !== 'A' && extra.type !== 'AAAA') continue
    const name = plain(extra.name)
    const known = addresses.get(name)
    if (known === undefined) addresses.set(name, [extra.data as string])
    else known.push(extra.data as string)
  }
  return { records, addresses, ttl }
}

/** RFC 2308 5: the lesser of the SOA record's own TTL and its minimum. */
function negative (packet: DecodedPacket): number {
  for (const authority of packet.authorities ?? []) {
    if (authority.type === 'SOA') return Math.min(authority.ttl ?? NEGATIVE, authority.data.minimum ?? NEGATIVE)
  }
  return NEGATIVE
}

/** Names are compared without case (RFC 4343) and without the root's dot. */
export function plain (name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

/** Reads `address`, `address:port` or `[v6]:port`. */
export function addressOf (server: string): [host: string, port: number] {
  const [, bracketed, v4, port = '53'] = /^(?:\[([\da-fA-F:.]+)\]|([\d.]+))(?::(\d+))?$/.exec(server) ?? []
  return [bracketed ?? v4 ?? server, Number(port)]
}
