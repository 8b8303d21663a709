import type { Entry } from '@headgate/cache'

/**
 * What responses with a No-Vary-Search are purged by beside their own URL, which is one without the parameters that do not matter: who purges by a URL with
 * a query need not know of the rule. So it concerns all of the path that were stored under one.
 */
export function everyQuery (url: string): string {
  const at = url.indexOf('?')
  return `${at === -1 ? url : url.slice(0, at)}?*`
}

/** Its URL may be another than was asked for. */
export function isRuled ({ fields }: Entry): boolean {
  for (let i = 0; i < fields.length; i += 2) if (fields[i]!.length === 14 && fields[i]!.toLowerCase() === 'no-vary-search') return true
  return false
}
