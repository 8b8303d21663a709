import type { FastifyRequest } from 'fastify'
import type { Signer } from '@fastify/cookie'
import { keptFromCaches } from '../cacheable.ts'
import type { Answer, Binding, KindContext, Session } from '../contract.ts'
import { editFields, editPairs, readSoundCookie } from '../cookie-header.ts'
import { Handles } from '../handles.ts'
import { deletes, eachSetCookie } from '../set-cookie.ts'

/** Handle, signature over handle and value, then the application's own value. */
const SHAPE = /^([\w-]{12})\.([A-Za-z\d+/]{43})~(.*)$/s

/**
 * Writes the upstream's handle in front of the value of a cookie that the application sets, and takes it off on the way in: no
 * table, and no second cookie. What the application sets no more cannot be written anew.
 */
export class PrefixedCookieBinding implements Binding {
  readonly #name: string
  readonly #context: KindContext
  readonly #handles: Handles
  readonly #signer: Signer

  constructor (name: string, context: KindContext) {
    this.#name = name
    this.#context = context
    this.#handles = new Handles(context.pool, context.keyring!)
    this.#signer = context.keyring!.signer(`app-cookie ${name}`, context.pool.name)
  }

  find (request: FastifyRequest): Session | undefined {
    const { report } = this.#context
    const value = readSoundCookie(request, this.#name, report)
    if (value === undefined) return undefined
    const parts = SHAPE.exec(value)
    // The application's own, from before Headgate was there, or a script's.
    if (parts === null) return undefined
    const [, handle, signature, own] = parts
    if (!this.#signer.unsign(`${handle!}~${own!}.${signature!}`).valid) return report.tell('forged')
    const upstreamId = this.#handles.find(handle!)
    if (upstreamId === undefined) return report.tell('unknown')
    return { upstreamId, key: '' }
  }

  bind (_session: Session | undefined, answer: Answer): boolean {
    this.#prefix(answer)
    return true
  }

  renew (_session: Session, answer: Answer): void {
    this.#prefix(answer)
  }

  /** Whatever looks like a prefix is taken off, a forged one too: the application must find its own value. */
  sending (headers: string[]): void {
    editFields(headers, (field) => editPairs(field, (name, value) => name === this.#name ? SHAPE.exec(value)?.[3] ?? value : value))
  }

  #prefix (answer: Answer): void {
    eachSetCookie(answer.headers, this.#name, (cookie) => {
      if (deletes(cookie, this.#context.clock.wall())) return undefined
      if (!keptFromCaches(answer)) {
        this.#context.report.tell('withheld', answer.upstreamId)
        return undefined
      }
      const handle = this.#handles.of(answer.upstreamId)
      const signed = this.#signer.sign(`${handle}~${cookie.value}`)
      return `${cookie.name}=${handle}.${signed.slice(-43)}~${cookie.value}${cookie.attributes}`
    })
  }
}
