import { createRouter, createWebHistory, type RouteRecordRaw } from "vue-router";
import { prefix } from "@/use/prefix";
import { ensureSession, session } from "@/use/session";
import { PAGES, type Permission } from "./pages";

declare module "vue-router" {
  interface RouteMeta {
    /** Whoever lacks it is told so instead. */
    needs?: Permission;
    open?: boolean;
  }
}

const needs = Object.fromEntries(PAGES.map((page) => [page.name, page.needs]));

const routes: RouteRecordRaw[] = [
  { path: "/login", name: "login", component: () => import("@/pages/login/Login.vue"), meta: { open: true } },
  { path: "/", name: "overview", component: () => import("@/pages/overview/Overview.vue") },
  { path: "/runs", name: "runs", component: () => import("@/pages/runs/List.vue") },
  {
    path: "/runs/:id(\\d+)",
    name: "run",
    component: () => import("@/pages/runs/Detail.vue"),
    props: true,
    meta: { needs: "runs.read" },
  },
  { path: "/alerts", name: "alerts", component: () => import("@/pages/alerts/List.vue") },
  { path: "/tasks", name: "tasks", component: () => import("@/pages/tasks/List.vue") },
  {
    path: "/tasks/:queue/:id(\\d+)",
    name: "task",
    component: () => import("@/pages/tasks/Detail.vue"),
    props: true,
    meta: { needs: "tasks.read" },
  },
  { path: "/queues", name: "queues", component: () => import("@/pages/queues/List.vue") },
  {
    path: "/queues/:name",
    name: "queue",
    component: () => import("@/pages/queues/Detail.vue"),
    props: true,
    meta: { needs: "monitoring" },
  },
  { path: "/servers", name: "servers", component: () => import("@/pages/servers/List.vue") },
  { path: "/handlers", name: "handlers", component: () => import("@/pages/handlers/List.vue") },
  { path: "/batches", name: "batches", component: () => import("@/pages/batches/List.vue") },
  {
    path: "/batches/:id(\\d+)",
    name: "batch",
    component: () => import("@/pages/batches/Detail.vue"),
    props: true,
    meta: { needs: "batches.read" },
  },
  { path: "/schedules", name: "schedules", component: () => import("@/pages/schedules/List.vue") },
  {
    path: "/schedules/:id(\\d+)",
    name: "schedule",
    component: () => import("@/pages/schedules/Detail.vue"),
    props: true,
    meta: { needs: "schedules.read" },
  },
  { path: "/admin", name: "admin", component: () => import("@/pages/admin/Admin.vue") },
  { path: "/settings", name: "settings", component: () => import("@/pages/settings/Settings.vue") },
  {
    path: "/:rest(.*)*",
    name: "missing",
    component: () => import("@/pages/Missing.vue"),
  },
];

for (const route of routes) {
  route.meta = { needs: needs[String(route.name)], ...route.meta };
}

export const router = createRouter({
  history: createWebHistory(`${prefix}/`),
  routes,
  scrollBehavior: (to, from, saved) => saved ?? (to.path === from.path ? false : { top: 0 }),
});

router.beforeEach(async (to) => {
  if (to.meta.open) return true;
  const signedIn = await ensureSession();
  return signedIn || { name: "login", query: to.fullPath === "/" ? {} : { next: to.fullPath } };
});

/** Whether who is signed in may see a page. */
export function isAllowed(permission: Permission | undefined): boolean {
  return permission === undefined || session.may(permission);
}
