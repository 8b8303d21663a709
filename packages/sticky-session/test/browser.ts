import { CookieJar } from 'tough-cookie'

/** Keeps cookies as browsers do (RFC 6265bis), for a site that is reached at another address. */
export class Browser {
  readonly jar: CookieJar = new CookieJar()
  readonly #site: string
  readonly #address: string

  /** `site` is the origin as the user sees it, `address` where it listens. */
  constructor (address: string, site: string = address) {
    this.#address = address
    this.#site = site
  }

  async go (path: string, init: RequestInit = {}): Promise<Response> {
    const response = await fetch(this.#address + path, {
      ...init,
      redirect: 'manual',
      headers: {
        ...init.headers as Record<string, string>,
        cookie: await this.jar.getCookieString(this.#site + path),
        'x-forwarded-proto': this.#site.split(':', 1)[0]!
      }
    })
    for (const field of response.headers.getSetCookie()) await this.jar.setCookie(field, this.#site + path)
    return response
  }

  async read (path: string, init?: RequestInit): Promise<string> {
    return (await this.go(path, init)).text()
  }

  /** Names of the cookies that a request for `path` would carry, by path. */
  async carries (path: string): Promise<string[]> {
    return (await this.jar.getCookies(this.#site + path)).map(({ key, path }) => `${key} ${path}`).sort()
  }
}
