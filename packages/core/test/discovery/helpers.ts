import { createSocket } from 'node:dgram'
import { type AddressInfo, createServer } from 'node:net'
import { type Answer, decode, encode, type Packet } from 'dns-packet'
import { Deadlines, type DiscoveryMessage, Pool, type PoolKind, type PoolOptions, seeded, systemClock, type Clock } from '../../src/index.ts'

export type Test = { teardown (action: () => unknown): void }

export interface Followed {
  readonly pool: Pool
  readonly messages: DiscoveryMessage[]
  /** Resolves with the next message of the discovery, or with the first that was not taken yet. */
  next (): Promise<DiscoveryMessage>
  /** `url` of each member that may be used, in alphabetic order. */
  urls (): string[]
}

/** A pool that keeps what its discovery told. */
export function pool (t: Test, options: PoolOptions, clock: Clock = systemClock, kind?: PoolKind): Followed {
  const made = new Pool('p', options, 'pool', { clock, random: seeded(1) }, new Deadlines(clock), kind)
  const messages: DiscoveryMessage[] = []
  let taken = 0
  let wake = (): void => {}
  made.on('discovery', (message) => {
    messages.push(message)
    wake()
  })
  t.teardown(() => made.close())
  return {
    pool: made,
    messages,
    async next () {
      // A proxy lives by its server, and timers of a discovery keep no process alive.
      const alive = setInterval(() => {}, 1000)
      while (taken >= messages.length) await new Promise<void>((resolve) => { wake = resolve })
      clearInterval(alive)
      return messages[taken++]!
    },
    urls: () => made.ready.map(({ url }) => url).sort()
  }
}

export async function until (condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => { setTimeout(resolve, 2) })
}

export interface DnsReply {
  readonly answers?: readonly unknown[]
  readonly authorities?: readonly unknown[]
  readonly additionals?: readonly unknown[]
  /** The response code, 0 (NOERROR) unless given. */
  readonly rcode?: number
  /** Say over UDP that the answer does not fit. */
  readonly truncated?: boolean
  /** Bytes instead of an answer. */
  readonly raw?: Buffer
  /** Answer with another id first. */
  readonly forged?: readonly unknown[]
  /** Send so many bytes over UDP and say that the answer does not fit. */
  readonly cut?: number
  /** Is awaited before the answer goes out over UDP. */
  readonly wait?: () => Promise<void>
}

/** A DNS server over UDP and TCP, whose answers a test decides on; `undefined`: it says nothing. */
export async function dnsServer (
  t: Test, answer: (type: string, name: string, tcp: boolean, edns: boolean) => DnsReply | undefined
): Promise<{ address: string; asked: string[] }> {
  const asked: string[] = []
  const reply = (query: Buffer, tcp: boolean): { readonly messages: Buffer[]; readonly wait?: DnsReply['wait'] } => {
    const packet = decode(query)
    const { type, name } = packet.questions![0]!
    asked.push(`${tcp ? 'tcp ' : ''}${type} ${name}`)
    const given = answer(type, name, tcp, (packet.additionals ?? []).length > 0)
    if (given === undefined) return { messages: [] }
    if (given.raw !== undefined) return { messages: [given.raw] }
    const message = (id: number, answers: readonly unknown[], cut: boolean): Buffer => encode({
      type: 'response', id, flags: (cut ? 0x0200 : 0) | (given.rcode ?? 0) | 0x0180, questions: packet.questions!,
      answers: answers as Answer[], authorities: (given.authorities ?? []) as Answer[], additionals: (given.additionals ?? []) as Answer[]
    } as Packet)
    const real = message(packet.id!, given.truncated === true && !tcp ? [] : given.answers ?? [], given.truncated === true && !tcp)
    if (given.cut !== undefined && !tcp) return { messages: [message(packet.id!, given.answers ?? [], true).subarray(0, given.cut)] }
    const forged = given.forged === undefined ? [] : [message((packet.id! + 1) & 0xffff, given.forged, false)]
    return { messages: [...forged, real], wait: given.wait }
  }
  const tcp = createServer((socket) => {
    socket.on('error', () => {})
    socket.on('data', (data) => {
      for (const bytes of reply(data.subarray(2), true).messages) {
        const length = Buffer.alloc(2)
        length.writeUInt16BE(bytes.length)
        // In two pieces, as a network may.
        socket.write(Buffer.concat([length, bytes.subarray(0, 5)]))
        socket.end(bytes.subarray(5))
      }
    })
  })
  await new Promise<void>((resolve) => { tcp.listen(0, '127.0.0.1', resolve) })
  const { port } = tcp.address() as AddressInfo
  const udp = createSocket('udp4')
  udp.on('message', async (query, from) => {
    const { messages, wait } = reply(query, false)
    await wait?.()
    for (const bytes of messages) udp.send(bytes, from.port, from.address)
  })
  await new Promise<void>((resolve) => { udp.bind(port, '127.0.0.1', resolve) })
  t.teardown(() => {
    udp.close()
    tcp.close()
  })
  return { address: `127.0.0.1:${port}`, asked }
}
