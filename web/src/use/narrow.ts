import { computed, ref } from "vue";

/** Whether there is so little room that things are shown one below the other. */
const query = window.matchMedia("(max-width: 767px)");
const matches = ref(query.matches);
query.addEventListener("change", (event) => (matches.value = event.matches));

export const isNarrow = computed(() => matches.value);
