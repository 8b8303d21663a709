import { hash } from 'node:crypto'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { Affinity, AffinityHint, Pool, Upstream } from '@headgate/core'
import type { Answer, Session } from './contract.ts'
import type { HiddenCookies } from './hidden-cookies.ts'
import type { Rule } from './rule.ts'

/** Which rule is in force for a request in a pool, and what no upstream may see. */
export interface Rules {
  readonly hidden: HiddenCookies
  find (request: FastifyRequest, pool: Pool): Rule | undefined
}

/** Whom one request's client belongs to: asked and told by the balancer. */
export class StickyRequest implements Affinity {
  readonly #rules: Rules
  readonly #request: FastifyRequest
  readonly #reply: FastifyReply
  #rule: Rule | undefined
  #session: Session | undefined
  /** The key under which it leads or follows others of the same client that have no session yet. */
  #firstKey = ''
  /** Is on its way to the newcomer of this id. */
  #movingTo: string | undefined
  #closed: (() => void) | undefined

  constructor (rules: Rules, request: FastifyRequest, reply: FastifyReply) {
    this.#rules = rules
    this.#request = request
    this.#reply = reply
  }

  propose (pool: Pool): AffinityHint | undefined | Promise<AffinityHint | undefined> {
    this.#close()
    this.#session = this.#movingTo = undefined
    this.#firstKey = ''
    const rule = this.#rule = this.#rules.find(this.#request, pool)
    if (rule === undefined) return undefined
    try {
      const found = rule.binding.find(this.#request)
      return found instanceof Promise ? this.#hintLater(rule, found) : this.#hint(rule, found)
    } catch (error) {
      return this.#giveUp(rule, error)
    }
  }

  sending (_upstream: Upstream, headers: string[]): void {
    if (this.#request.raw.headers.cookie === undefined) return
    this.#rules.hidden.removeFrom(headers, this.#request)
    this.#rule?.binding.sending?.(headers)
  }

  answered (upstream: Upstream, status: number, headers: string[]): void {
    const rule = this.#rule
    if (rule === undefined) return
    if (status === 101) this.#tunnelled()
    const { id } = upstream
    const session = this.#session
    const home = session?.upstreamId
    const answer: Answer = { request: this.#request, reply: this.#reply, status, headers, upstreamId: id }
    if (this.#firstKey !== '') rule.firsts.answered(this.#firstKey, this.#request)
    if (home === id) {
      rule.isBack(id)
      rule.report.tell('hit', id)
      rule.binding.renew(session!, answer)
      if (session!.key !== '') rule.rebalancer?.settled(session!.key, id)
    } else if (home !== undefined && this.#movingTo !== id && rule.lends(home)) {
      rule.report.tell('borrow', id)
      rule.binding.renew(session!, answer)
    } else if (status < 502 || status > 504) {
      // A gateway's failure binds nobody: whoever says so is about to be left.
      if (!rule.binding.bind(session, answer)) return
      rule.report.tell(home === undefined ? 'new' : this.#movingTo === id ? 'rebalance' : 'rebind', id)
      if (session !== undefined && session.key !== '') rule.rebalancer?.settled(session.key, id)
    }
  }

  async #hintLater (rule: Rule, found: Promise<Session | undefined>): Promise<AffinityHint | undefined> {
    try {
      return this.#hint(rule, await found)
    } catch (error) {
      return this.#giveUp(rule, error)
    }
  }

  /** A function of the user's threw: the request goes on without affinity. */
  #giveUp (rule: Rule, error: unknown): undefined {
    this.#rule = undefined
    rule.report.failed(error)
    return undefined
  }

  #hint (rule: Rule, session: Session | undefined): AffinityHint | undefined {
    const { pool } = rule
    this.#session = session
    let home = session?.upstreamId
    if (home !== undefined && pool.get(home) === undefined) {
      rule.report.tell('unknown', home)
      home = undefined
    }
    if (home === undefined) return this.#first(rule, session)
    if (rule.rebalancer !== undefined && session!.key !== '') home = this.#track(rule, session!.key, home)
    if (rule.leaves(home)) return undefined
    return { upstreamId: home, whileDraining: rule.keepsDraining, strict: rule.strict && this.#movingTo === undefined }
  }

  /** Nobody's client yet: it goes where another first request of its own goes, if there is one. */
  #first (rule: Rule, session: Session | undefined): AffinityHint | undefined {
    let key = session?.key ?? ''
    if (key === '') {
      const shared = rule.together?.(this.#request) ?? ''
      if (shared === '') return undefined
      key = hash('sha256', shared, 'base64url')
    }
    this.#firstKey = key
    const leader = rule.firsts.follow(key, this.#request)
    return leader === undefined ? undefined : { upstreamId: leader, whileDraining: false, strict: false }
  }

  #track (rule: Rule, key: string, home: string): string {
    const { rebalancer } = rule
    this.#movingTo = rebalancer!.opened(key, home)
    this.#closed = () => { rebalancer!.closed(key) }
    this.#reply.raw.once('close', this.#closed)
    return this.#movingTo ?? home
  }

  /** The response's own end says nothing of a tunnel's: its connection does. */
  #tunnelled (): void {
    if (this.#closed === undefined) return
    this.#reply.raw.off('close', this.#closed)
    this.#request.raw.socket.once('close', this.#closed)
  }

  #close (): void {
    if (this.#closed === undefined) return
    this.#reply.raw.off('close', this.#closed)
    this.#closed()
    this.#closed = undefined
  }
}
