import type { FastifyReply, FastifyRequest } from 'fastify'
import Negotiator from 'negotiator'
import type { Page } from './compile.ts'

const PROBLEM = 'application/problem+json'
const isJson = (mediaType: string): boolean => /[/+]json$/.test(mediaType)

/**
 * The page that a client wants by its `Accept` (RFC 9110 12.5.1); `undefined`: none, so it gets the problem document. Who takes anything,
 * as programs do, gets JSON: a page of that kind where there is one. Browsers ask for HTML by name.
 */
export function chosenPage (pages: readonly Page[], { headers: { accept } }: FastifyRequest, reply: FastifyReply): Page | undefined {
  if (pages.length === 0) return undefined
  // What is answered depends on it, whoever it is.
  reply.header('vary', varied(reply.getHeader('vary') as string | string[] | undefined))
  const own = pages.find(({ mediaType }) => isJson(mediaType))
  if (accept === undefined) return own
  // A client that asks for JSON may not know that problem documents are some.
  const types = [...own === undefined ? [PROBLEM, 'application/json'] : [own.mediaType], ...pages.map(({ mediaType }) => mediaType)]
  const [best] = new Negotiator({ headers: { accept } }).mediaTypes([...new Set(types)])
  if (best === undefined) return own
  return pages.find(({ mediaType }) => mediaType === best)
}

function varied (before: string | string[] | undefined): string {
  const text = [before ?? []].flat().join(', ')
  if (/(?:^|,)\s*(?:accept|\*)\s*(?:,|$)/i.test(text)) return text
  return text === '' ? 'Accept' : `${text}, Accept`
}
