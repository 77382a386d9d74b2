import "@/app/tokens.css";
import "@/app/base.css";
import { VueQueryPlugin } from "@tanstack/vue-query";
import { createApp } from "vue";
import App from "@/app/App.vue";
import { i18n, startLanguage } from "@/app/i18n";
import { queries } from "@/app/query";
import { router } from "@/app/router";
import "@/use/theme";

await startLanguage();
createApp(App).use(i18n).use(router).use(VueQueryPlugin, { queryClient: queries }).mount("#app");
