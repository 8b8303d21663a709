import { type CheckKind, failed, passed, shown, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface PostgresOptions {
  /** @default 'postgres' */
  readonly user?: string
  /** @default the user's name, as PostgreSQL itself has it */
  readonly database?: string
  /**
   * Well only in this role. Servers of version 14 and newer say it of themselves once a user is in, so the user must be one who needs
   * no password from here (`trust` for this address in pg_hba.conf). @default any
   */
  readonly role?: 'primary' | 'standby'
}

/** SQLSTATEs of a server that is there but takes no work: starting, shutting down, out of connections (appendix A). */
const BUSY = /^(57P0[123]|53\w{3}|08\w{3}|XX\w{3})$/

/** Well when a start-up message is answered as the protocol says: by a question for the password, or by letting the user in. */
export function postgresCheck ({ user = 'postgres', database = user, role }: PostgresOptions = {}): StreamCheck {
  const body = Buffer.from(`\0\0\0\0\0\x03\0\0user\0${user}\0database\0${database}\0application_name\0headgate\0\0`)
  body.writeInt32BE(body.length, 0)
  return (upstream, signal) => converse(upstream, signal, {
    opened: (socket) => { socket.write(body) },
    heard: (bytes) => {
      for (let at = 0; at + 5 <= bytes.length;) {
        const type = String.fromCharCode(bytes[at]!)
        const length = bytes.readInt32BE(at + 1)
        if (length < 4 || length > 65_536) return failed(`answered ${shown(bytes)}`)
        if (at + 1 + length > bytes.length) return undefined
        const message = bytes.toString('latin1', at + 5, at + 1 + length)
        at += 1 + length
        if (type === 'E') return refused(message, role)
        if (type === 'R') {
          const method = bytes.readInt32BE(at - length + 4)
          // Whether there is such a user and database is only said after that.
          if (method === 0) continue
          if (role === undefined) return passed('asks for a password')
          return failed(`asks for a password, so its role is not known: '${user}' needs none`)
        } else if (role === undefined) {
          return 'SKZNv'.includes(type) ? passed('let in') : failed(`answered ${shown(bytes)}`)
        } else if (type === 'S') {
          const standby = /^in_hot_standby\0(on|off)\0$/.exec(message)?.[1]
          if (standby !== undefined) return (standby === 'on') === (role === 'standby') ? passed(`is ${role}`) : failed(standby === 'on' ? 'is a standby' : 'is a primary')
        } else if (type === 'Z') return failed('does not say its role: older than version 14')
        else if (type !== 'K' && type !== 'N' && type !== 'v') return failed(`answered ${shown(bytes)}`)
      }
      return undefined
    },
    farewell: Buffer.from([0x58, 0, 0, 0, 4])
  })
}

/** A server that refuses this user or database is there; one that starts, stops or is full takes no work. */
function refused (message: string, role: PostgresOptions['role']): ReturnType<typeof passed> {
  const state = /(?:^|\0)C([0-9A-Z]{5})\0/.exec(message)?.[1] ?? ''
  const text = /(?:^|\0)M([^\0]*)/.exec(message)?.[1]?.slice(0, 120) ?? 'an error without words'
  return BUSY.test(state) || state === '' || role !== undefined ? failed(`${state} ${text}`.trim()) : passed(`answers: ${state} ${text}`)
}

const text = { type: 'string', minLength: 1 }

export const postgres: CheckKind<PostgresOptions> = {
  properties: { user: text, database: text, role: { type: 'string', enum: ['primary', 'standby'] } },
  create: postgresCheck
}
