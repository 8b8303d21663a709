import { randomInt } from 'node:crypto'
import { createSocket } from 'node:dgram'
import { type CheckKind, type CheckResult, failed, passed, type StreamCheck } from './contract.ts'

const TYPES = { A: 1, NS: 2, SOA: 6, TXT: 16, AAAA: 28 } as const
const CODES = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED'] as const

export interface DnsOptions {
  /** What is asked for. @default '.' */
  readonly name?: string
  /** @default 'NS' */
  readonly record?: keyof typeof TYPES
  /** Answers that are well. @default NOERROR and NXDOMAIN */
  readonly codes?: readonly (typeof CODES[number])[]
}

/** The root, or a domain name. */
const NAME = /^(\.|(?=.{1,253}$)([\w-]{1,63}\.)*[\w-]{1,63}\.?)$/

/** A query (RFC 1035 4.1) with recursion desired. */
function query (id: number, name: string, type: number): Buffer {
  const labels = name.replace(/\.$/, '').split('.').filter((label) => label !== '')
  const head = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  return Buffer.concat([head, ...labels.flatMap((label) => [Buffer.from([label.length]), Buffer.from(label, 'latin1')]), Buffer.from([0, 0, type, 0, 1])])
}

/** Well when a query over UDP is answered in time, and not by an error. */
export function dnsCheck ({ name = '.', record = 'NS', codes = ['NOERROR', 'NXDOMAIN'] }: DnsOptions = {}): StreamCheck {
  if (!NAME.test(name)) throw new RangeError('name must be a domain name')
  return ({ target }, signal) => new Promise<CheckResult>((resolve) => {
    const id = randomInt(65_536)
    const sent = query(id, name, TYPES[record])
    const socket = createSocket(target.hostname.includes(':') ? 'udp6' : 'udp4')
    let over = false
    const end = (result: CheckResult): void => {
      if (over) return
      over = true
      signal.removeEventListener('abort', aborted)
      socket.close()
      resolve(result)
    }
    const aborted = (): void => { end(failed('no answer in time')) }
    socket.on('error', (error: NodeJS.ErrnoException) => { end(failed(error.code === 'ECONNREFUSED' ? 'nobody listens' : error.message)) })
    socket.on('message', (answer) => {
      // Only the answer to this very question counts; anything else may be late or forged.
      if (answer.length < sent.length || answer.readUInt16BE(0) !== id || (answer[2]! & 0x80) === 0) return
      if (answer.subarray(12, sent.length).toString('latin1').toLowerCase() !== sent.subarray(12).toString('latin1').toLowerCase()) return
      const code = CODES[answer[3]! & 15] ?? `code ${answer[3]! & 15}`
      end((codes as readonly string[]).includes(code) ? passed(code) : failed(code))
    })
    socket.connect(target.port, target.hostname, () => { if (!over) socket.send(sent) })
    signal.addEventListener('abort', aborted, { once: true })
    if (signal.aborted) aborted()
  })
}

export const dns: CheckKind<DnsOptions> = {
  properties: {
    name: { type: 'string', pattern: NAME.source },
    record: { type: 'string', enum: Object.keys(TYPES) },
    codes: { type: 'array', minItems: 1, items: { type: 'string', enum: CODES } }
  },
  create: dnsCheck
}
