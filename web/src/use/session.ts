import { computed, ref, shallowRef } from "vue";
import { client, take } from "@/api/client";
import { Problem } from "./problem";
import type { Me, Meta } from "@/api/types";

/** Who is signed in, what they may do, and what the server says of itself. */

const me = shallowRef<Me | null>(null);
const meta = shallowRef<Meta | null>(null);
/** Whether it was asked at all. */
const known = ref(false);

export const session = {
  me: computed(() => me.value),
  meta: computed(() => meta.value),
  may: (permission: Me["permissions"][number]) => me.value?.permissions.includes(permission) ?? false,
};

/** Ask who one is, unless it is known; false where nobody is signed in. */
export async function ensureSession(): Promise<boolean> {
  if (known.value && me.value) return true;
  try {
    [me.value, meta.value] = await Promise.all([
      take(client.GET("/api/v1/me")),
      take(client.GET("/api/v1/meta")),
    ]);
    known.value = true;
    return true;
  } catch (error) {
    if (error instanceof Problem && error.status === 401) return false;
    throw error;
  }
}

export async function signIn(username: string, password: string): Promise<void> {
  await take(client.POST("/api/v1/login", { body: { username, password } }));
  known.value = false;
  await ensureSession();
}

export async function signOut(): Promise<void> {
  await take(client.POST("/api/v1/logout"));
  forgetSession();
}

/** The session has ended: whoever goes on has to sign in. */
export function forgetSession(): void {
  me.value = null;
  known.value = false;
}
