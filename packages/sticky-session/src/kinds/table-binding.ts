import type { FastifyRequest } from 'fastify'
import type { Answer, Binding, Session } from '../contract.ts'
import type { StickEntry } from '../store.ts'
import type { Table } from '../table.ts'

export interface TableSession extends Session {
  /** Milliseconds since the Unix epoch; 0 where the client is not in the table. */
  readonly boundAt: number
}

function sessionOf (key: string, entry: StickEntry | undefined): TableSession {
  return { key, upstreamId: entry?.upstreamId, boundAt: entry?.boundAt ?? 0 }
}

/** What the table says of a key. */
export function tableSession (table: Table, key: string): TableSession | Promise<TableSession> {
  const found = table.find(key)
  return found instanceof Promise ? found.then((entry) => sessionOf(key, entry)) : sessionOf(key, found)
}

/** The table notes for each key which upstream answered first. */
export class TableBinding implements Binding<TableSession> {
  readonly #keyOf: (request: FastifyRequest) => string | undefined
  readonly #table: Table

  constructor (keyOf: (request: FastifyRequest) => string | undefined, table: Table) {
    this.#keyOf = keyOf
    this.#table = table
  }

  find (request: FastifyRequest): TableSession | undefined | Promise<TableSession> {
    const value = this.#keyOf(request)
    return value === undefined || value === '' ? undefined : tableSession(this.#table, this.#table.keyOf(value))
  }

  bind (session: TableSession | undefined, answer: Answer): boolean {
    if (session !== undefined) this.#table.bind(session.key, answer.upstreamId)
    return true
  }

  renew (session: TableSession): void {
    this.#table.touch(session.key, session.boundAt)
  }
}
