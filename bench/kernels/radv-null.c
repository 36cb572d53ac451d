/* A Vulkan driver that forwards to Mesa's libvulkan_radeon, but records and submits nothing. RADV's null device compiles for a
   card that isn't there; on GFX9 and later it crashes when a command buffer begins, which Dawn does as it opens a device.
   Build: cc -shared -fPIC -o libradv-null.so radv-null.c -ldl */
#include <dlfcn.h>
#include <string.h>

typedef void (*function)(void);
typedef function (*lookup)(void *, const char *);

static lookup device_lookup;

static function of_driver(const char *name) {
  static void *driver;
  if (!driver) driver = dlopen("libvulkan_radeon.so", RTLD_NOW);
  return driver ? (function)dlsym(driver, name) : 0;
}

static int success(void) { return 0; }

static function instead(const char *name, function found) {
  int left_out = !strcmp(name, "vkBeginCommandBuffer") || !strcmp(name, "vkEndCommandBuffer") ||
                 !strncmp(name, "vkQueueSubmit", strlen("vkQueueSubmit"));
  return found && left_out ? (function)success : found;
}

static function device_function(void *device, const char *name) { return instead(name, device_lookup(device, name)); }

function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  lookup get = (lookup)of_driver("vk_icdGetInstanceProcAddr");
  function found = get ? get(instance, name) : 0;
  if (found && !strcmp(name, "vkGetDeviceProcAddr")) {
    device_lookup = (lookup)found;
    return (function)device_function;
  }
  return instead(name, found);
}

function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  lookup get = (lookup)of_driver("vk_icdGetPhysicalDeviceProcAddr");
  return get ? get(instance, name) : 0;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(unsigned *version) {
  int (*negotiate)(unsigned *) = (int (*)(unsigned *))of_driver("vk_icdNegotiateLoaderICDInterfaceVersion");
  return negotiate ? negotiate(version) : -3;
}
