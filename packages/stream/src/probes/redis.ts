import { type CheckKind, failed, passed, shown, type StreamCheck } from './contract.ts'
import { converse } from './converse.ts'

export interface RedisOptions {
  /** @default no AUTH */
  readonly password?: string
  /** With the password. @default the server's default user */
  readonly username?: string
  /** Well only in this role: writes go to a `master`; a `replica` has to be connected to its master. @default any */
  readonly role?: 'master' | 'replica'
}

/** A command in the protocol's form (RESP). */
function command (...words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`
}

/** Well when PING is answered with PONG: not while it loads its data, and not with a wrong password. */
export function redisCheck ({ password, username, role }: RedisOptions = {}): StreamCheck {
  const auth = password === undefined ? '' : username === undefined ? command('AUTH', password) : command('AUTH', username, password)
  const hello = auth + command('PING') + (role === undefined ? '' : command('ROLE'))
  return (upstream, signal) => converse(upstream, signal, {
    opened: (socket) => { socket.write(hello) },
    heard: (bytes) => {
      let text = bytes.toString('latin1')
      const error = /(?:^|\r\n)-([^\r\n]*)\r\n/.exec(text)
      if (error !== null) return failed(error[1]!.slice(0, 120))
      if (auth !== '') {
        if (text.length < 5) return undefined
        if (!text.startsWith('+OK\r\n')) return failed(`answered ${shown(bytes)}`)
        text = text.slice(5)
      }
      if (text.length < 7) return '+PONG\r\n'.startsWith(text) ? undefined : failed(`answered ${shown(bytes)}`)
      if (!text.startsWith('+PONG\r\n')) return failed(`answered ${shown(bytes)}`)
      return role === undefined ? passed('PONG') : inRole(text.slice(7), role)
    },
    farewell: Buffer.from(command('QUIT'))
  })
}

/** ROLE gives `master …`, or `slave`, the master's host and port, and the state of the link. */
function inRole (text: string, role: 'master' | 'replica'): ReturnType<typeof passed> | undefined {
  const [, is, more = ''] = /^\*\d+\r\n\$\d+\r\n(\w+)\r\n(.*)$/s.exec(text) ?? []
  if (is === undefined) return text.length > 64 ? failed('ROLE was not understood') : undefined
  if (is === 'master') return role === 'master' ? passed('PONG, master') : failed('is a master')
  const link = /^\$\d+\r\n[^\r]*\r\n:\d+\r\n\$\d+\r\n(\w+)\r\n/.exec(more)?.[1]
  if (link === undefined) return more.length > 512 ? failed('ROLE was not understood') : undefined
  if (role === 'master') return failed('is a replica')
  return link === 'connected' ? passed('PONG, replica') : failed(`the link to its master is in state ${link}`)
}

const text = { type: 'string', minLength: 1 }

export const redis: CheckKind<RedisOptions> = {
  properties: { password: text, username: text, role: { type: 'string', enum: ['master', 'replica'] } },
  create: redisCheck
}
