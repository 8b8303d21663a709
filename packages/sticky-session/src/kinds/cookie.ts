import { createHash, randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Signer } from '@fastify/cookie'
import { keptFromCaches } from '../cacheable.ts'
import type { Answer, Binding, CommonOptions, KindContext, Session } from '../contract.ts'
import { readSoundCookie } from '../cookie-header.ts'
import { Handles } from '../handles.ts'
import { LastFields } from '../last-fields.ts'

export interface CookieOptions extends CommonOptions {
  /** Headgate sets a cookie of its own. The default kind. */
  readonly by?: 'cookie'
  /** The cookie's name. @default 'headgate-POOL', with a suffix for other paths than '/' */
  readonly name?: string
  /** Paths of the site that the cookie is for. @default the prefix of the route; '/' for routes without a wildcard */
  readonly path?: string
  /** Hosts that the cookie is for. @default the one that was asked */
  readonly domain?: string
  /** Requests from other sites that carry the cookie. @default 'lax' */
  readonly sameSite?: 'lax' | 'strict' | 'none'
  /** Over TLS only; `auto`: when the request came over TLS. @default 'auto' */
  readonly secure?: boolean | 'auto'
  /** A jar of its own for each site that embeds this one (CHIPS); over TLS only. @default false */
  readonly partitioned?: boolean
  /** Let the upstream see the cookie. @default false */
  readonly forward?: boolean
  /**
   * First requests that run at the same time and share this key go to the same upstream: `source-ip`, `header:NAME`,
   * `query:NAME`, or a function. @default none
   */
  readonly together?: 'source-ip' | `header:${string}` | `query:${string}` | ((request: FastifyRequest) => string | undefined)
}

interface CookieSession extends Session {
  /** When the client was bound, and when the cookie was last set: seconds since the Unix epoch. */
  readonly boundAt: number
  readonly setAt: number
  /** Was signed with an older secret. */
  readonly outdated: boolean
}

/** What a cookie of ours says, whoever it names: that is looked up each time. */
interface Sound {
  readonly handle: string
  readonly boundAt: number
  readonly setAt: number
  readonly key: string
  readonly outdated: boolean
}

/** The cookie for one path: its name, and what it was found to say. */
interface Reader {
  readonly name: string
  readonly last: LastFields<Sound>
}

/** Handle, time of binding, time of setting (seconds in base 36), a name where clients are told apart, signature. */
const SHAPE = /^([\w-]{12})\.([\da-z]{1,8})\.([\da-z]{1,8})(?:\.([\w-]{11}))?\.[A-Za-z\d+/]{43}$/
/** Cookies that are known to be sound: clients send the same one again and again, and to check a signature costs more than all else here. */
const VERIFIED = 4096
/** The cookie is set anew when this share of `idleTimeout` has passed: the end of an idle time is as exact as that. */
const RENEWAL = 0.1

export class CookieBinding implements Binding<CookieSession> {
  readonly #options: CookieOptions
  readonly #context: KindContext
  readonly #handles: Handles
  readonly #signer: Signer
  /** By value. Nothing of it changes while the process runs: whether it has expired, and whom it names, is seen anew each time. */
  readonly #verified = new Map<string, Sound>()
  readonly #readers = new Map<string, Reader>()
  /** Cookies end at some time: without that, the clock need not be asked. */
  readonly #ends: boolean

  constructor (options: CookieOptions, context: KindContext) {
    this.#options = options
    this.#context = context
    this.#ends = options.idleTimeout !== undefined || options.lifetime !== undefined
    this.#handles = new Handles(context.pool, context.keyring!)
    this.#signer = context.keyring!.signer('cookie', context.pool.name)
    for (const path of context.paths) this.#readerFor(options.path ?? path)
  }

  find (request: FastifyRequest): CookieSession | undefined {
    const field = request.headers.cookie
    if (field === undefined) return undefined
    const { report } = this.#context
    const { name, last } = this.#readerFor(this.#pathFor(request))
    let sound = last.get(request, field)
    if (sound === undefined) {
      const value = readSoundCookie(request, name, report)
      sound = value === undefined ? undefined : this.#verified.get(value) ?? this.#verify(value)
      if (sound === undefined) return undefined
      last.keep(request, field, sound)
    }
    const { boundAt, setAt, key, outdated } = sound
    const upstreamId = this.#handles.find(sound.handle)
    if (this.#ends && this.#isOver(boundAt, setAt)) return report.tell('expired', upstreamId)
    if (upstreamId === undefined) return report.tell('unknown')
    return { upstreamId, key, boundAt, setAt, outdated }
  }

  bind (session: CookieSession | undefined, answer: Answer): boolean {
    if (!keptFromCaches(answer)) {
      this.#context.report.tell('withheld', answer.upstreamId)
      return false
    }
    this.#set(answer, answer.upstreamId, this.#now(), session?.key || this.#newKey())
    return true
  }

  renew (session: CookieSession, answer: Answer): void {
    const { idleTimeout } = this.#options
    const due = idleTimeout !== undefined && this.#now() >= session.setAt + idleTimeout / 1000 * RENEWAL
    const unnamed = this.#options.rebalance !== undefined && this.#options.rebalance > 0 && session.key === ''
    if ((due || unnamed || session.outdated) && keptFromCaches(answer)) {
      this.#set(answer, session.upstreamId!, session.boundAt, session.key || this.#newKey())
    }
  }

  #set ({ request, reply }: Answer, upstreamId: string, boundAt: number, key: string): void {
    const { idleTimeout, lifetime = Infinity, sameSite = 'lax', secure = 'auto', partitioned = false, domain } = this.#options
    const now = this.#now()
    const path = this.#pathFor(request)
    const tls = secure === 'auto' ? request.protocol === 'https' : secure
    const value = `${this.#handles.of(upstreamId)}.${boundAt.toString(36)}.${now.toString(36)}${key === '' ? '' : `.${key}`}`
    reply.header('set-cookie', this.#context.serialize(this.#readerFor(path).name, this.#signer.sign(value), {
      path,
      httpOnly: true,
      secure: tls,
      // Browsers refuse these two over plain connections.
      sameSite: sameSite === 'none' && !tls ? 'lax' : sameSite,
      partitioned: partitioned && tls,
      encode: String,
      ...domain !== undefined && { domain },
      ...idleTimeout !== undefined && { maxAge: Math.max(1, Math.ceil(Math.min(idleTimeout / 1000, boundAt + lifetime / 1000 - now))) }
    }))
  }

  /** `undefined`, and told of, where it is not what one of our secrets signed. */
  #verify (value: string): Sound | undefined {
    const { report } = this.#context
    const parts = SHAPE.exec(value)
    if (parts === null) return report.tell('malformed')
    const { valid, renew } = this.#signer.unsign(value)
    if (!valid) return report.tell('forged')
    if (this.#verified.size >= VERIFIED) this.#verified.delete(this.#verified.keys().next().value!)
    const sound = { handle: parts[1]!, boundAt: Number.parseInt(parts[2]!, 36), setAt: Number.parseInt(parts[3]!, 36), key: parts[4] ?? '', outdated: renew }
    // A copy: a part of the field's value would keep the whole of it.
    this.#verified.set(Buffer.from(value, 'latin1').toString('latin1'), sound)
    return sound
  }

  #isOver (boundAt: number, setAt: number): boolean {
    const { idleTimeout = Infinity, lifetime = Infinity } = this.#options
    const now = this.#context.clock.wall()
    return now > setAt * 1000 + idleTimeout || now > boundAt * 1000 + lifetime
  }

  #now (): number {
    return Math.floor(this.#context.clock.wall() / 1000)
  }

  /** A cookie names its client only where that is needed: to know who has a request open before somebody is moved. */
  #newKey (): string {
    return (this.#options.rebalance ?? 0) > 0 ? randomBytes(8).toString('base64url') : ''
  }

  #pathFor (request: FastifyRequest): string {
    return this.#options.path ?? this.#context.pathOf(request)
  }

  /** Cookies of several pools, or of several routes to one pool, must not take each other's place. */
  #readerFor (path: string): Reader {
    let reader = this.#readers.get(path)
    if (reader !== undefined) return reader
    let { name } = this.#options
    if (name === undefined) {
      const pool = this.#context.pool.name
      const token = pool.replace(/[^\w-]/g, '-')
      const different = `${token === pool ? '' : pool}${path === '/' ? '' : path}`
      name = `headgate-${token}${different === '' ? '' : `-${createHash('sha256').update(different).digest('hex').slice(0, 6)}`}`
    }
    reader = { name, last: new LastFields() }
    this.#readers.set(path, reader)
    if (this.#options.forward !== true) this.#context.hidden.add(name)
    return reader
  }
}
