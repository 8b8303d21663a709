import type { FastifyRequest } from 'fastify'

/** Longer fields are not kept: ten thousand connections that wait must not hold much. */
const LONGEST = 1024

/**
 * What was made of the last `Cookie` field that each connection brought: a client sends the same one again and again, and to compare two
 * texts costs a tenth of what it costs to look one of them up. Over HTTP/2 nothing is kept, as a connection's streams share no socket that
 * could be asked for at no cost.
 */
export class LastFields<T extends {}> {
  readonly #last = new WeakMap<object, { field: string; value: T }>()

  /** What was kept for the request's connection, if its field was the same. */
  get ({ raw }: FastifyRequest, field: string): T | undefined {
    const last = raw.httpVersionMajor < 2 ? this.#last.get(raw.socket) : undefined
    return last?.field === field ? last.value : undefined
  }

  keep ({ raw }: FastifyRequest, field: string, value: T): void {
    if (raw.httpVersionMajor >= 2 || field.length > LONGEST) return
    const { socket } = raw as { readonly socket?: object | null }
    // A request whose client left may have no socket any more.
    if (socket === undefined || socket === null) return
    const last = this.#last.get(socket)
    if (last === undefined) this.#last.set(socket, { field, value })
    else {
      last.field = field
      last.value = value
    }
  }
}
