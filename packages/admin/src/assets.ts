import { createHash } from 'node:crypto'
import { readFileSync, readdirSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { FastifyInstance } from 'fastify'

/**
 * Nothing comes from elsewhere, nothing inline is run, nobody frames the page. What the page draws it styles through the CSSOM, which
 * `style-src 'self'` allows.
 */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; " +
  "form-action 'none'; frame-ancestors 'none'"

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8', css: 'text/css; charset=utf-8', js: 'text/javascript; charset=utf-8', svg: 'image/svg+xml'
}

interface Asset { readonly type: string; readonly body: Buffer; readonly etag: string }

function assets (): Map<string, Asset> {
  const found = new Map<string, Asset>()
  const add = (name: string, url: URL | string): void => {
    const body = readFileSync(url)
    found.set(name, { type: TYPES[name.split('.').at(-1)!]!, body, etag: `"${createHash('sha256').update(body).digest('base64url').slice(0, 16)}"` })
  }
  const sources = new URL('../dashboard/', import.meta.url)
  for (const name of ['index.html', 'style.css', 'icon.svg']) add(name, new URL(name, sources))
  const built = new URL('../dist/dashboard/', import.meta.url)
  for (const name of readdirSync(built)) if (name.endsWith('.js')) add(name, new URL(name, built))
  const require = createRequire(import.meta.url)
  add('uplot.js', require.resolve('uplot/dist/uPlot.esm.js'))
  add('uplot.css', require.resolve('uplot/dist/uPlot.min.css'))
  return found
}

/** The dashboard's page and what it loads. */
export function assetRoutes (scope: FastifyInstance, prefix: string): void {
  const schema = { hide: true } as object
  // The page's addresses are relative to its folder; so is this one, as what stands in front may strip a part of the path.
  scope.get('/', { schema, prefixTrailingSlash: 'no-slash' }, (_request, reply) => reply.redirect(`${prefix.split('/').at(-1)!}/`))
  for (const [name, { type, body, etag }] of assets()) {
    scope.get(name === 'index.html' ? '/' : `/${name}`, { schema, logLevel: 'warn', prefixTrailingSlash: 'slash' }, (request, reply) => {
      reply.header('content-security-policy', POLICY).header('x-content-type-options', 'nosniff').header('referrer-policy', 'no-referrer')
        .header('cache-control', 'no-cache').header('etag', etag)
      return request.headers['if-none-match'] === etag ? reply.code(304).send() : reply.type(type).send(body)
    })
  }
}
