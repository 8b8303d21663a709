import { STATUS_CODES } from 'node:http'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import type { Page, Pages } from './compile.ts'
import { chosenPage } from './negotiate.ts'

/** Pages that an error brings along: those of its rule go before those of its route. A symbol, so that no log shows them. */
const PAGES: unique symbol = Symbol('headgate.pages')

interface Paged { [PAGES]?: Pages | readonly Page[] }

export function attachPages (error: Error, pages: Pages | readonly Page[] | undefined): void {
  if (pages !== undefined) (error as Paged)[PAGES] = pages
}

/** The page that an error is answered with; `undefined`: none. */
export function pageFor (error: FastifyError, request: FastifyRequest, reply: FastifyReply, otherwise: Pages | undefined): Page | undefined {
  const status = statusOf(error, reply)
  const pages = (error as Paged)[PAGES] ?? otherwise
  const fitting = pages === undefined ? [] : 'of' in pages ? pages.of(status) : pages
  return chosenPage(fitting, request, reply)
}

/** As Fastify has it. */
function statusOf ({ statusCode }: FastifyError, reply: FastifyReply): number {
  if (statusCode !== undefined && statusCode >= 400) return statusCode
  return reply.statusCode >= 400 ? reply.statusCode : 500
}

/** Answers with a page; what was set on the reply before (`Retry-After`, CORS …) stays. `false`: it could not be made. */
export async function sendPage (page: Page, error: FastifyError, request: FastifyRequest, reply: FastifyReply): Promise<boolean> {
  const status = statusOf(error, reply)
  const own = typeof error.code === 'string' && error.code.startsWith('HG_')
  let text: string
  try {
    text = await page.text({
      status, title: STATUS_CODES[status] ?? 'Error', detail: own || status < 500 ? error.message : '', code: own ? error.code : '', requestId: request.id
    }, request)
  } catch (failure) {
    request.log.error({ err: failure }, 'an error page could not be made')
    return false
  }
  if (reply.sent) return true
  const { headers = {} } = error as { headers?: Record<string, string> }
  void reply.code(page.status ?? status).headers(headers).header('content-type', page.contentType).send(Buffer.from(text))
  return true
}
