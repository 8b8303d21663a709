import type { Socket } from 'node:net'
import { type CheckKind, failed, passed, shown, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface MysqlOptions {
  /**
   * Log in as this user, who should have no password and no rights, and leave politely. Without one the check ends after the
   * greeting, which the server counts as a broken-off login: too many of them (`max_connect_errors`) and it blocks this host.
   * @default only the greeting
   */
  readonly user?: string
}

// Long password, protocol 4.1, secure connection, plugin authentication.
const CAPABILITIES = 0x1 | 0x200 | 0x8000 | 0x80000
const UTF8MB4 = 45

function packet (sequence: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(4)
  head.writeUIntLE(payload.length, 0, 3)
  head[3] = sequence
  return Buffer.concat([head, payload])
}

function login (user: string): Buffer {
  const fixed = Buffer.alloc(32)
  fixed.writeUInt32LE(CAPABILITIES, 0)
  fixed.writeUInt32LE(0xffffff, 4)
  fixed[8] = UTF8MB4
  return packet(1, Buffer.concat([fixed, Buffer.from(`${user}\0\0mysql_native_password\0`)]))
}

/** Well when the server greets with protocol version 10 (MySQL and MariaDB); with `user`, when it also answers a login. */
export function mysqlCheck ({ user }: MysqlOptions = {}): StreamCheck {
  return (upstream, signal) => {
    let asked = false
    return converse(upstream, signal, {
      heard (bytes, socket: Socket) {
        if (bytes.length < 5) return undefined
        const length = bytes.readUIntLE(0, 3)
        if (length > 65_536 || bytes[3] !== 0) return failed(`answered ${shown(bytes)}`)
        if (bytes.length < 4 + length) return undefined
        if (bytes[4] === 0xff) return failed(errorOf(bytes.subarray(4, 4 + length)))
        if (bytes[4] !== 10) return failed(`answered ${shown(bytes)}`)
        if (user === undefined) return passed('greets')
        if (!asked) {
          asked = true
          socket.write(login(user))
        }
        const answer = bytes.subarray(4 + length)
        if (answer.length < 5) return undefined
        // OK; anything else is an answer too, but says that the user is not as it should be.
        return answer[4] === 0 ? passed('lets in') : passed(answer[4] === 0xff ? `answers: ${errorOf(answer.subarray(4))}` : 'asks for a password')
      },
      farewell: packet(0, Buffer.from([1]))
    })
  }
}

/** Number and text; the state in between is there after the capabilities are known. */
function errorOf (payload: Buffer): string {
  const text = payload.toString('latin1', 3).replace(/^#.{5}/, '')
  return `${payload.length < 3 ? 0 : payload.readUInt16LE(1)} ${text.slice(0, 120)}`
}

export const mysql: CheckKind<MysqlOptions> = { properties: { user: { type: 'string', minLength: 1 } }, create: mysqlCheck }
