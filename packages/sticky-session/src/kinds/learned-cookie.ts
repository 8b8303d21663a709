import type { FastifyRequest } from 'fastify'
import type { Answer, Binding, KindContext, Session } from '../contract.ts'
import { readSoundCookie } from '../cookie-header.ts'
import { deletes, eachSetCookie } from '../set-cookie.ts'
import type { Table } from '../table.ts'
import { type TableSession, tableSession } from './table-binding.ts'

/**
 * Follows a cookie that the application sets: the table learns from its `Set-Cookie` which upstream knows the value. Values
 * that only clients bring are never learnt, or anybody could fill the table.
 */
export class LearnedCookieBinding implements Binding<TableSession> {
  readonly #name: string
  readonly #context: KindContext
  readonly #table: Table

  constructor (name: string, context: KindContext) {
    this.#name = name
    this.#context = context
    this.#table = context.table(`app-cookie:${name}`)
  }

  find (request: FastifyRequest): TableSession | undefined | Promise<TableSession> {
    const value = readSoundCookie(request, this.#name, this.#context.report)
    return value === undefined || value === '' ? undefined : tableSession(this.#table, this.#table.keyOf(value))
  }

  bind (session: TableSession | undefined, answer: Answer): boolean {
    if (session?.upstreamId !== undefined) this.#table.bind(session.key, answer.upstreamId)
    this.#learn(session, answer)
    return true
  }

  renew (session: TableSession, answer: Answer): void {
    this.#table.touch(session.key, session.boundAt)
    this.#learn(session, answer)
  }

  #learn (session: Session | undefined, answer: Answer): void {
    eachSetCookie(answer.headers, this.#name, (cookie) => {
      if (!deletes(cookie, this.#context.clock.wall())) this.#table.bind(this.#table.keyOf(cookie.value), answer.upstreamId)
      else if (session !== undefined) this.#table.forget(session.key)
      return undefined
    })
  }
}
